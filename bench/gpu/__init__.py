"""Everything that is measured on a GPU, in one run: `python -m bench.gpu`."""
