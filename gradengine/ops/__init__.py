
# --- shape ---
from .shape import astype as astype
from .shape import atleast_nd as atleast_nd
from .shape import broadcast_arrays as broadcast_arrays
from .shape import broadcast_shapes as broadcast_shapes
from .shape import broadcast_to as broadcast_to
from .shape import copy as copy
from .shape import expand_dims as expand_dims
from .shape import flatten as flatten
from .shape import flip as flip
from .shape import matrix_transpose as matrix_transpose
from .shape import moveaxis as moveaxis
from .shape import permute_dims as permute_dims
from .shape import ravel as ravel
from .shape import reshape as reshape
from .shape import roll as roll
from .shape import squeeze as squeeze
from .shape import swapaxes as swapaxes
from .shape import transpose as transpose

# --- indexing ---
from .indexing import getitem as getitem
from .indexing import overwrite as overwrite

# --- linalg ---
from .linalg import matmul as matmul
