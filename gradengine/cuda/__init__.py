"""The GPU: our CUDA kernels, found, compiled, cached and launched; see `kernels.py` and
`launch.py`.

One of the two places that import CuPy (the other is device.py), and only when a GPU is asked for.
"""
