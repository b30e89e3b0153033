"""check_grads: derivatives compared with finite differences, in both modes, to any order.

For a direction t and a cotangent c the numerical derivative d = J t (central differences in
float64, extrapolated) is compared with the jvp element by element, and <c, d> with <J'c, t>. Each
argument is checked alone and all of them together. The vjp and the jvp are functions too, of the
arguments and the cotangents or tangents: the next order is the same check of them.

Floor 6: stands on autodiff.py and differences.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np

from gradengine.autodiff import jvp, vjp
from gradengine.device import is_array
from gradengine.dtypes import is_inexact
from gradengine.errors import DTypeError, GradengineError, hinted
from gradengine.tape import Traced
from gradengine.tensor import Tensor
from gradengine.testing.differences import Slope, Vector, place, split, vector
from gradengine.trees import flatten

Fun = Callable[..., Any]


class GradientError(GradengineError, AssertionError):
    """A computed derivative is not the derivative of the function."""


TOLERANCES = {8: (1e-7, 1e-9), 4: (1e-3, 1e-4), 2: (1e-1, 1e-1)}
"""Bytes of the coarsest float -> (rtol, atol); float64 alone makes a sharp test."""


AGREEMENT = 0.01
"""Forward and reverse mode agree so many times better than either with finite differences."""


def check_grads(
    f: Fun,
    args: Any,
    order: int = 2,
    modes: Sequence[str] = ("reverse", "forward"),
    rtol: float | None = None,
    atol: float | None = None,
    eps: float | None = None,
    seed: int = 0,
    directions: int = 1,
) -> None:
    """Compare the derivatives of f(*args) up to `order` with central differences; silent if right.

    `args` is a sequence of tensors, arrays or trees of them. Every real float array in it is
    differentiated; integers, booleans and Python numbers are held fixed. `modes` are "reverse"
    (vjp) and "forward" (jvp). `directions` random directions are tried for each argument; `eps`
    is the step of the differences. Arguments in float64 make it sharp: relative errors of 1e-6
    are found at any order. f must be smooth within `eps` of the arguments.

    Raises GradientError, an AssertionError, which says the order, the mode, the argument, both
    values and the relative error. Where plain differences are too coarse they are extrapolated as
    in Ridders, Advances in Engineering Software 4 (1982) 75.

    >>> import gradengine as ge
    >>> check_grads(lambda x, y: ge.tanh(x) * y, (ge.tensor([0.5, -1.0]).double(), np.ones(2)))
    """
    unknown = [m for m in modes if m not in ("reverse", "forward")]
    if unknown or not modes:
        raise ValueError(hinted(f"check_grads: modes {modes!r}", 'use "reverse" and "forward"'))
    flat, xs, names = _flatten(f, args)
    item = min(int(x.dtype.itemsize) for x in xs)
    checker = _Checker(
        modes=tuple(modes),
        order=order,
        rtol=TOLERANCES[item][0] if rtol is None else rtol,
        atol=TOLERANCES[item][1] if atol is None else atol,
        eps=eps,
        directions=directions,
        random=np.random.default_rng(seed),
    )
    checker.check(flat, xs, names, 1, "f")


def _flatten(f: Fun, args: Any) -> tuple[Fun, list[Tensor], list[str]]:
    """f as a function of its float arrays alone that gives a list of float tensors."""
    given: tuple[Any, ...] = tuple(cast(Any, args)) if isinstance(args, (tuple, list)) else (args,)
    leaves, rebuild = flatten(given)
    names = [
        f"args[{i}]" + (f" leaf {k}" if len(found) > 1 else "")
        for i, found in enumerate(flatten(a)[0] for a in given)
        for k in range(len(found))
    ]
    chosen = [i for i, x in enumerate(leaves) if _is_variable(x)]
    if not chosen:
        raise DTypeError(
            hinted("check_grads: no argument is a float array", "give float64 arrays or Tensors")
        )

    def flat(*xs: Any) -> list[Any]:
        new = list(leaves)
        for i, x in zip(chosen, xs, strict=True):
            new[i] = x
        return _float_outputs(f(*rebuild(new)))

    xs = [Tensor.lift(leaves[i]).detach() for i in chosen]
    return flat, xs, [names[i] for i in chosen]


def _is_variable(x: Any) -> bool:
    return (isinstance(x, Traced) or is_array(x)) and is_inexact(x.dtype)  # type: ignore[union-attr]


def _float_outputs(out: Any) -> list[Any]:
    leaves, _ = flatten(out)
    found = [y for y in leaves if isinstance(y, Tensor) and is_inexact(y.dtype)]
    if not found:
        shown = ", ".join(type(y).__name__ for y in leaves) or "nothing"
        raise GradientError(
            hinted(
                f"check_grads: f returned {shown}, no float Tensor",
                "compute with ge.* or np.* functions of the arguments",
            )
        )
    return found


# --- the check ---


@dataclass
class _Checker:
    modes: tuple[str, ...]
    order: int
    rtol: float
    atol: float
    eps: float | None
    directions: int
    random: np.random.Generator
    coarse: float = 0.0  # the largest machine epsilon of a value met on the way

    def check(self, f: Fun, xs: list[Tensor], names: list[str], level: int, what: str) -> None:
        """Check the first derivative of f, then, up to `order`, those of its vjp and jvp."""
        outputs = f(*xs)
        for _ in range(self.directions):
            self._check_once(f, xs, names, outputs, f"order {level}, %s mode of {what}, ")
        if level == self.order:
            return
        if "reverse" in self.modes:
            seeds = [self._like(y) for y in outputs]
            labels = [f"cotangent {k}" for k in range(len(seeds))]
            pulled = _vjp_of(f, len(seeds))
            self.check(pulled, seeds + xs, labels + names, level + 1, f"vjp({what})")
        if "forward" in self.modes:
            tangents = [self._like(x) for x in xs]
            labels = [f"tangent of {name}" for name in names]
            pushed = _jvp_of(f, len(xs))
            self.check(pushed, xs + tangents, names + labels, level + 1, f"jvp({what})")

    def _check_once(
        self, f: Fun, xs: list[Tensor], names: list[str], outputs: list[Tensor], where: str
    ) -> None:
        ts = [self._like(x) for x in xs]
        slopes = [Slope(f, xs, i, t, self.eps, self.coarse) for i, t in enumerate(ts)]
        self.coarse = max(s.coarse for s in slopes)
        everything = tuple(range(len(xs)))
        subsets = [(i,) for i in everything] + ([everything] if len(xs) > 1 else [])
        for chosen in subsets:
            g = _restricted(f, xs, chosen)
            label = names[chosen[0]] if len(chosen) == 1 else f"{', '.join(names)} together"
            task = _Task(
                function=g,
                xs=[xs[i] for i in chosen],
                ts=[ts[i] for i in chosen],
                slopes=[slopes[i] for i in chosen],
                names=[names[i] for i in chosen],
                outputs=outputs,
            )
            pushed = None
            if "forward" in self.modes:
                pushed = self._forward(task, where % "forward" + label)
            if "reverse" in self.modes:
                self._reverse(task, where % "reverse", pushed)

    # --- forward mode: J t, element by element ---

    def _forward(self, task: _Task, where: str) -> Vector:
        """Compare the jvp with the numerical derivative; returns the jvp."""
        ys, dys = jvp(task.function, task.xs, task.ts)
        self._same_value(ys, task.outputs, where)
        for k, (y, dy) in enumerate(zip(ys, dys, strict=True)):
            _same_kind(dy, y, f"{where}: the tangent of output {k}", "its output")
        got = vector(dys)
        if self._close(got, task.slope(refined=False)).all():
            return got
        expected = task.slope(refined=True)
        for i in np.nonzero(~self._close(got, expected))[0][:1]:
            k = int(i)
            _fail(f"{where}, {place(dys, k)}", float(expected[k]), float(got[k]), self.rtol)
        return got

    # --- reverse mode: <c, J t> and <J'c, t> ---

    def _reverse(self, task: _Task, where: str, pushed: Vector | None) -> None:
        """Compare the vjp with the numerical derivative, and more sharply with the jvp."""
        ys, pullback = vjp(task.function, *task.xs)
        self._same_value(ys, task.outputs, where + "value")
        # Signs as those of the sum to be tested: its terms add up, so none hides in the others.
        signs = np.sign(task.slope(refined=False))
        c = np.where(signs, signs, 1) * self._magnitudes(signs.size)
        gs = pullback(split(c, ys))
        c = vector(split(c, ys))  # as rounded to the outputs' dtypes
        for x, t, g, s, name in zip(task.xs, task.ts, gs, task.slopes, task.names, strict=True):
            _same_kind(g, x, f"{where}{name}: the gradient", "its input")
            got = float(vector([g]) @ vector([t]))
            for refined in (False, True):
                terms = c * s.value(refined)
                expected = float(terms.sum())
                bound = self.rtol * np.abs(terms).sum() + self.atol * np.abs(c).sum()
                if abs(got - expected) <= bound:
                    break
            else:
                lost = not vector([g]).any()
                _fail(f"{where}{name}, <c, J t>", expected, got, self.rtol, lost=lost)
        if pushed is not None:
            expected = float(c @ pushed)
            got = sum(float(vector([g]) @ vector([t])) for g, t in zip(gs, task.ts, strict=True))
            bound = self.rtol * np.abs(c * pushed).sum() + self.atol * np.abs(c).sum()
            if not abs(got - expected) <= AGREEMENT * bound:
                where += ", ".join(task.names)
                _fail(f"{where}, <J'c, t> and <c, jvp>", expected, got, AGREEMENT * self.rtol)

    # --- small parts ---

    def _close(self, got: Vector, expected: Vector) -> Any:
        return np.abs(got - expected) <= self.atol + self.rtol * np.abs(expected)

    def _same_value(self, ys: Sequence[Tensor], outputs: Sequence[Tensor], where: str) -> None:
        """The value must not depend on how it is differentiated, nor change from call to call."""
        if [(y.shape, y.dtype) for y in ys] != [(y.shape, y.dtype) for y in outputs]:
            raise GradientError(
                hinted(
                    f"check_grads: {where}: outputs {_kinds(ys)}, without derivative "
                    f"{_kinds(outputs)}",
                    "f must compute the same with and without gradients",
                )
            )
        a, b = vector(ys), vector(outputs)
        if not np.allclose(a, b, self.rtol, self.atol, equal_nan=True):
            raise GradientError(
                hinted(
                    f"check_grads: {where}: the value is {a[:3]}, without derivative {b[:3]}",
                    "f must be deterministic: seed its random numbers inside",
                )
            )

    def _magnitudes(self, size: int) -> Vector:
        return self.random.uniform(0.5, 1.0, size)

    def _like(self, x: Tensor) -> Tensor:
        """A random direction in the shape, dtype and place of x, no element of it small."""
        signs = self.random.choice([-1.0, 1.0], size=x.size)
        return split(signs * self._magnitudes(x.size), [x])[0]


@dataclass
class _Task:
    """f in some of its arguments, with a direction and the numerical derivative in each of them."""

    function: Fun
    xs: list[Tensor]
    ts: list[Tensor]
    slopes: list[Slope]
    names: list[str]
    outputs: list[Tensor]

    def slope(self, refined: bool) -> Vector:
        """The numerical derivative with all the arguments moving."""
        return np.sum([s.value(refined) for s in self.slopes], axis=0)


def _restricted(f: Fun, xs: list[Tensor], chosen: tuple[int, ...]) -> Fun:
    def function(*given: Any) -> Any:
        new: list[Any] = list(xs)
        for i, x in zip(chosen, given, strict=True):
            new[i] = x
        return f(*new)

    return function


def _vjp_of(f: Fun, count: int) -> Fun:
    """The vjp of f as a function of `count` cotangents and the arguments."""

    def function(*args: Any) -> Any:
        _, pullback = vjp(f, *args[count:])
        return list(pullback(list(args[:count])))

    return function


def _jvp_of(f: Fun, count: int) -> Fun:
    """The jvp of f as a function of the `count` arguments and their tangents."""
    return lambda *args: jvp(f, args[:count], args[count:])[1]


# --- failures ---


def _kinds(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"{y.shape} {y.dtype}" for y in tensors)


def _same_kind(x: Tensor, like: Tensor, what: str, whose: str) -> None:
    if (x.shape, x.dtype) != (like.shape, like.dtype):
        raise GradientError(
            hinted(
                f"check_grads: {what} is {x.shape} {x.dtype}, {whose} {like.shape} {like.dtype}",
                "a derivative has the shape and dtype of what it belongs to",
            )
        )


def _fail(where: str, expected: float, got: float, rtol: float, lost: bool = False) -> NoReturn:
    largest = max(abs(expected), abs(got))
    relative = abs(got - expected) / largest if largest else abs(got - expected)
    hint = "correct the rule; if f has a kink or pole here, move the arguments away from it"
    if lost:
        hint = "no gradient arrived: a rule gave None or 0, or f left the tape (.data, .numpy())"
    elif np.isnan(expected):
        hint = "f itself is NaN near the arguments: move them inside its domain"
    raise GradientError(
        hinted(
            f"check_grads: {where}: numerical {expected:.12g}, computed {got:.12g}, "
            f"relative error {relative:.2g} (allowed {rtol:.0e})",
            hint,
        )
    )
