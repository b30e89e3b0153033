from .tape import *
from .tape import Traced, Leaf, constant
from .ops.arithmetic import add, multiply, subtract, divide, negative
from .ops import elementary as el
import numpy as np
class Tensor(Traced):
    __slots__=()
    __add__=add
    __mul__=multiply
    def __sub__(self,o): return subtract(self,o)
    tanh=el.tanh
from .op import bind_tensor
bind_tensor(Tensor)
def leaf(a):
    t=constant(Tensor,a); t.node=Leaf(); return t
