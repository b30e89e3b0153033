"""Provisional."""
from ..op import pointwise, primitive, real
exp = pointwise("exp", forward="exp", partial=lambda y, _x: y)
log = pointwise("log", forward="log", partial=lambda _y, x: 1 / x, strict=True, sample=real(0.2, 3))
sqrt = pointwise("sqrt", forward="sqrt", partial=lambda y, _x: 0.5 / y, strict=True, sample=real(0.2, 3))
sin = pointwise("sin", forward="sin", partial=lambda _y, x: cos(x))
cos = pointwise("cos", forward="cos", partial=lambda _y, x: -sin(x))
tanh = pointwise("tanh", forward="tanh", partial=lambda y, _x: 1 - y * y)


@primitive(arity=3)
def where(xp, condition, a, b):
    """Elements of a where condition holds, else of b."""
    return xp.where(condition, a, b)


@where.adjoint(1)
def _(g, _y, condition, _a, _b):
    return where(condition, g, 0.0)


@where.adjoint(2)
def _(g, _y, condition, _a, _b):
    return where(condition, 0.0, g)
