"""`ge.random`: random tensors, the same numbers from the same seed on the CPU and on the GPU.

Every function takes one offset of its generator (`generator=`, the default one if none is given)
and counts from there (philox.py states how), so nothing depends on the order of execution.

Floor 5: stands on philox.py and conversion.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import device as devices
from . import ops, philox
from .conversion import DeviceLike, DTypeLike, as_device, made
from .creation import as_shape
from .device import Array, device_of, module_for
from .dtypes import as_dtype, get_default_dtype, is_inexact
from .errors import DTypeError, OutOfRangeError, ShapeError, hinted
from .philox import Generator as Generator
from .philox import State as State
from .philox import default_generator as default_generator
from .tape import Traced
from .tensor import Tensor

# --- the default generator ---


def manual_seed(seed: int) -> Generator:
    """Start the default generator again from `seed`; returns it.

    >>> _ = manual_seed(0)
    >>> a = rand(2)
    >>> _ = manual_seed(0)
    >>> bool((rand(2) == a).all())
    True
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Start the default generator again from a seed of the operating system's; returns that."""
    return default_generator.seed()


def get_state() -> State:
    """The default generator's (seed, offset)."""
    return default_generator.get_state()


def set_state(state: Sequence[int]) -> None:
    """Continue the default generator from a state that `get_state` gave."""
    default_generator.set_state(state)


# --- real numbers ---


def rand(
    *shape: Any,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform numbers in [0, 1): `rand(2, 3)` or `rand((2, 3))`.

    >>> rand(2, 3, generator=Generator(0)).shape
    (2, 3)
    """
    size = as_shape(shape[0] if len(shape) == 1 else shape, "rand")
    return made(_draw(philox.uniform, size, dtype, device, generator, "rand"), requires_grad)


def uniform(
    low: float = 0.0,
    high: float = 1.0,
    shape: Any = (),
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform numbers in [low, high): low + (high - low) u.

    >>> bool((uniform(2, 3, (100,)) >= 2).all())
    True
    """
    u = _draw(philox.uniform, as_shape(shape, "uniform"), dtype, device, generator, "uniform")
    return made(_affine(u, high - low, low), requires_grad)


def randn(
    *shape: Any,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Standard normal numbers: `randn(2, 3)` or `randn((2, 3))`.

    >>> x = randn(10_000, generator=Generator(0))
    >>> abs(x.mean().item()) < 0.03, abs(x.std().item() - 1) < 0.03
    (True, True)
    """
    size = as_shape(shape[0] if len(shape) == 1 else shape, "randn")
    return made(_draw(philox.normal, size, dtype, device, generator, "randn"), requires_grad)


def normal(
    mean: float = 0.0,
    std: float = 1.0,
    shape: Any = (),
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Normal numbers of the given mean and standard deviation.

    >>> normal(5.0, 0.0, (2,))
    tensor([5., 5.])
    """
    if std < 0:
        raise OutOfRangeError(hinted(f"normal: std={std} is negative", "give its absolute value"))
    z = _draw(philox.normal, as_shape(shape, "normal"), dtype, device, generator, "normal")
    return made(_affine(z, std, mean), requires_grad)


def rand_like(x: Any, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """Uniform numbers in [0, 1) of the shape, dtype and device of `x`."""
    return rand(tuple(x.shape), generator=generator, **(_like(x) | options))


def randn_like(x: Any, *, generator: Generator | None = None, **options: Any) -> Tensor:
    """Standard normal numbers of the shape, dtype and device of `x`."""
    return randn(tuple(x.shape), generator=generator, **(_like(x) | options))


# --- integers, orders, coins ---


def randint(
    low: int,
    high: int | None = None,
    shape: Any = (),
    *,
    dtype: DTypeLike = "int64",
    device: DeviceLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """Integers from `low` (0 if one bound is given) up to, not including, `high`.

    >>> bool((randint(3, shape=(100,)) < 3).all())
    True
    """
    if high is None:
        low, high = 0, low
    chosen, size = as_dtype(dtype), as_shape(shape, "randint")
    bounds = np.iinfo(chosen) if chosen.kind in "iu" else None
    if bounds is None or low < bounds.min or high - 1 > min(bounds.max, np.iinfo(np.int64).max):
        raise DTypeError(
            hinted(f"randint: [{low}, {high}) does not fit into {chosen}", "use dtype='int64'")
        )
    xp, state, place = _stream(device, generator)
    with place:
        found = philox.integers(xp, size, low, high - low, *state)
        return made(found.astype(chosen, copy=False))


def randperm(n: int, *, device: DeviceLike = None, generator: Generator | None = None) -> Tensor:
    """A random order of 0 .. n-1, every one equally likely.

    It is the order that sorts n random 64-bit words (two are equal with probability below
    n**2 / 2**65; then the earlier comes first).

    >>> sorted(randperm(5).tolist())
    [0, 1, 2, 3, 4]
    """
    (count,) = as_shape(n, "randperm")
    xp, state, place = _stream(device, generator)
    with place:
        return made(philox.order(xp, count, *state))


def permutation(x: Any, *, axis: int = 0, generator: Generator | None = None) -> Tensor:
    """The slices of `x` along `axis` in random order, on the tape; `randperm(x)` for an int.

    >>> sorted(permutation([3, 1, 2]).tolist())
    [1, 2, 3]
    """
    if isinstance(x, int):
        return randperm(x, generator=generator)
    t = Tensor.lift(x)
    if not t.ndim:
        raise ShapeError(
            hinted("permutation: a 0-d tensor has no order", "give an int or a vector")
        )
    order = randperm(t.shape[axis], device=t.device, generator=generator)
    return ops.take(t, order, axis=axis)


def bernoulli(
    p: Any,
    shape: Any = None,
    *,
    dtype: DTypeLike = None,
    device: DeviceLike = None,
    generator: Generator | None = None,
) -> Tensor:
    """1 with probability `p`, else 0; `p` is a number, or a tensor of one probability an element.

    >>> bernoulli(1.0, (3,))
    tensor([1., 1., 1.])
    """
    raw = p.array if isinstance(p, Traced) else p
    given = tuple(getattr(raw, "shape", ()))
    if getattr(raw, "size", 1) and not bool(
        ((raw >= 0) & (raw <= 1)) if not given else ((raw >= 0) & (raw <= 1)).all()
    ):
        raise OutOfRangeError(hinted("bernoulli: p must lie in [0, 1]", "give probabilities"))
    size = given if shape is None else as_shape(shape, "bernoulli")
    chosen = as_dtype(dtype) if dtype is not None else get_default_dtype()
    where = device_of(raw) if given and device is None else device
    u = _draw(philox.uniform, size, "float32", where, generator, "bernoulli")
    return made((u < raw).astype(chosen))


def _affine(x: Array, scale: float, shift: float) -> Array:
    kind = x.dtype.type
    return x * kind(scale) + kind(shift)


def _like(x: Any) -> dict[str, Any]:
    raw = x.array if isinstance(x, Traced) else x
    return {"dtype": raw.dtype, "device": device_of(raw)}


def _stream(device: DeviceLike, generator: Generator | None) -> tuple[Any, State, Any]:
    """The array module, a fresh (seed, offset), and a context for arrays on the device."""
    xp, target = module_for(None if device is None else as_device(device))
    place = devices.quiet() if devices.is_host(xp) else xp.cuda.Device(target.index)
    return xp, (default_generator if generator is None else generator).take(), place


def _draw(
    function: Any, shape: tuple[int, ...], dtype: Any, device: Any, generator: Any, name: str
) -> Array:
    chosen = get_default_dtype() if dtype is None else as_dtype(dtype)
    if not is_inexact(chosen):
        raise DTypeError(
            hinted(f"{name}: {chosen} is no real float", "use ge.random.randint for integers")
        )
    xp, state, place = _stream(device, generator)
    with place:
        return function(xp, shape, chosen, *state)
