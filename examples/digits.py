"""A perceptron learns to read real handwritten digits.

The program is `gradengine/demo.py`, written to be read: data and held-out split, network,
mini-batches with Adam, evaluation, picture. This file is its command line.
"""

import argparse

from gradengine.program import demo

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
demo.add_arguments(parser)
demo.command(parser.parse_args())
