"""How NumPy, CuPy, DLPack, copy and pickle see a Tensor.

`protocols` answers what tensor.py is asked, `dispatch` takes the ufuncs, and the `numpy_*` files
map NumPy's functions to ours; those are imported with the first call.

Floor 3: stands on ops/ and writes.py.
"""
