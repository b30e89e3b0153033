from ..op import pointwise
tanh = pointwise("tanh", forward="tanh", partial=lambda y, _x: 1 - y * y)
