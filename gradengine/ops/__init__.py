
# --- shape ---
# --- indexing ---
from .indexing import getitem as getitem
from .indexing import overwrite as overwrite

# --- gathering ---
from .gathering import argsort as argsort
from .gathering import gather as gather
from .gathering import nonzero as nonzero
from .gathering import one_hot as one_hot
from .gathering import put_along_axis as put_along_axis
from .gathering import scatter_add as scatter_add
from .gathering import sort as sort
from .gathering import take as take
from .gathering import take_along_axis as take_along_axis

# --- diagonals ---
from .diagonals import diag as diag
from .diagonals import diagonal as diagonal
from .diagonals import trace as trace
from .diagonals import tril as tril
from .diagonals import triu as triu

# --- linalg ---
from .linalg import linear as linear
from .linalg import matmul as matmul
from .linalg import outer as outer
from .linalg import vecdot as vecdot

# --- einsum ---
from .einsum import einsum as einsum
from .einsum import tensordot as tensordot
from .joining import array_split as array_split
from .joining import concat as concat
from .joining import concatenate as concatenate
from .joining import hstack as hstack
from .joining import repeat as repeat
from .joining import split as split
from .joining import stack as stack
from .joining import tile as tile
from .joining import unstack as unstack
from .joining import vstack as vstack
from .padding import pad as pad
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
