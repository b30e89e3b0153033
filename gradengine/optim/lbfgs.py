"""L-BFGS: a quasi-Newton method that remembers its last steps instead of a Hessian.

All parameters are one vector here. Unlike the other optimisers it evaluates the loss itself,
through a closure, and looks at values, so on a GPU it waits for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradengine.device import as_array, device_of, move, namespace, quiet
from gradengine.errors import hinted
from gradengine.tape import enable_grad, no_grad

from .lift import assign
from .optimizer import Array, Optimizer, Params
from .state import State
from .wolfe import Point, strong_wolfe

SMALLEST_CURVATURE = 1e-10


class LBFGS(Optimizer):
    """L-BFGS (Nocedal and Wright, 2006, algorithm 7.5), with an optional strong Wolfe line search.

    `step(closure)` makes up to `max_iter` iterations and at most `max_eval` evaluations (default:
    5/4 of max_iter); it stops where the largest element of the gradient is at most
    `tolerance_grad`, or of the step, or the change of the loss, at most `tolerance_change`. The
    last `history_size` steps are kept. One parameter group only.

    >>> import gradengine as ge
    >>> w = ge.tensor([3.0, -2.0], requires_grad=True)
    >>> optimizer = LBFGS([w], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((w - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()  # the loss before the step
    13.0
    >>> w.round().tolist()
    [1.0, 1.0]
    """

    numbers = ("func_evals", "n_iter", "t", "H_diag", "prev_loss")
    vectors = ("d", "prev_flat_grad")
    lists = ("old_dirs", "old_stps", "ro", "al")

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError(
                hinted(
                    f"LBFGS: got {len(self.param_groups)} parameter groups",
                    "it treats all parameters as one vector; pass one list",
                )
            )
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(
                hinted(f"LBFGS: line_search_fn {line_search_fn!r} is unknown", 'use "strong_wolfe"')
            )

    # --- all parameters as one vector ---

    def _flat_gradient(self) -> Array:
        found: list[Array] = []
        for p in self.param_groups[0]["params"]:
            g = p.grad
            xp = namespace(p.array)
            found.append(xp.zeros(p.size, p.dtype) if g is None else g.array.reshape(-1))
        return namespace(found[0]).concatenate(found)

    def _move(self, origin: list[Array], t: float, d: Array) -> None:
        """Set the parameters to origin + t d."""
        start = 0
        for p, x in zip(self.param_groups[0]["params"], origin, strict=True):
            part = d[start : start + x.size].reshape(x.shape)
            start += x.size
            assign(p, (x + t * part).astype(x.dtype, copy=False))

    # --- one step ---

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Up to max_iter iterations; the loss before the first. `closure` computes loss and grads.

        It must call `zero_grad()` and `backward()` and return the loss.
        """
        if closure is None:
            hint = "def closure(): optimizer.zero_grad(); loss = ...; loss.backward(); return loss"
            raise ValueError(hinted("LBFGS: step needs a closure that computes the loss", hint))
        evaluate = closure
        parameter = self.param_groups[0]["params"][0]
        state = self.state[parameter]
        if "d" in state and device_of(state["d"]) != device_of(parameter.array):  # it has moved
            state.update({key: self._taken(key, value) for key, value in state.items()})
        with no_grad(), quiet():

            def value() -> tuple[Any, float]:
                with enable_grad():
                    loss = evaluate()
                state["func_evals"] = state.get("func_evals", 0) + 1
                return loss, float(loss)

            original, loss = value()
            gradient = self._flat_gradient()
            if not _largest(gradient) <= self.param_groups[0]["tolerance_grad"]:
                self._iterate(state, value, loss, gradient)
        self.has_stepped = True
        return original

    def _iterate(self, state: State, value: Any, loss: float, g: Array) -> None:
        group = self.param_groups[0]
        evaluations = 1
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] = state.get("n_iter", 0) + 1
            d = self._direction(state, g)
            first = state["n_iter"] == 1
            t = group["lr"] * (min(1.0, 1.0 / float(abs(g).sum())) if first else 1.0)
            state["prev_flat_grad"], state["prev_loss"], before = g.copy(), loss, loss
            state["d"], state["t"] = d, t
            slope = float(g @ d)
            if slope > -group["tolerance_change"]:
                break
            counted = state["func_evals"]
            if group["line_search_fn"] is None:
                origin = [p.array for p in group["params"]]
                self._move(origin, t, d)
                if iteration < group["max_iter"]:
                    loss, g = value()[1], self._flat_gradient()
            else:
                start = Point(0.0, loss, slope, g)
                limit = group["max_eval"] - evaluations
                found = self._search(value, start, t, d, limit)
                t, loss, g = found.t, found.value, found.gradient
            state["t"] = t
            evaluations += state["func_evals"] - counted
            if evaluations >= group["max_eval"] or _largest(g) <= group["tolerance_grad"]:
                break
            small = group["tolerance_change"]
            if _largest(t * d) <= small or abs(loss - before) < small:
                break

    def _search(self, value: Any, start: Point, t: float, d: Array, limit: int) -> Point:
        group = self.param_groups[0]
        origin = [p.array for p in group["params"]]

        def phi(t: float) -> Point:
            self._move(origin, t, d)
            loss = value()[1]
            g = self._flat_gradient()
            return Point(t, loss, float(g @ d), g)

        found, _ = strong_wolfe(
            phi, start, t, longest=_largest(d), tolerance=group["tolerance_change"], limit=limit
        )
        self._move(origin, found.t, d)
        return found

    def _direction(self, state: State, g: Array) -> Array:
        """-H g by the two-loop recursion, after the newest step has entered the history."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            return -g
        changes, steps, weights = state["old_dirs"], state["old_stps"], state["ro"]
        y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = float(y @ s)
        if curvature > SMALLEST_CURVATURE:
            if len(changes) >= self.param_groups[0]["history_size"]:
                for kept in (changes, steps, weights):
                    del kept[0]
            changes.append(y)
            steps.append(s)
            weights.append(1.0 / curvature)
            state["H_diag"] = curvature / float(y @ y)
        q = -g
        shares: list[float] = []
        for y, s, w in zip(reversed(changes), reversed(steps), reversed(weights), strict=True):
            shares.append(float(s @ q) * w)
            q = q - shares[-1] * y
        q = q * state["H_diag"]
        for y, s, w in zip(changes, steps, weights, strict=True):
            q = q + (shares.pop() - float(y @ q) * w) * s
        return q

    # --- saving ---

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over state and options; vectors and the history are copied to the device."""
        taken: State = {}  # all parameters are one vector, so there is one state
        for values in dict(state_dict.get("state", {})).values():
            taken.update(
                (key, self._taken(key, value))
                for key, value in values.items()
                if key != "al" and value is not None
            )
        super().load_state_dict(
            {**state_dict, "state": {}} if "state" in state_dict else state_dict
        )
        if taken:
            self.state[self.param_groups[0]["params"][0]] = taken

    def _taken(self, key: str, value: Any) -> Any:
        size = sum(p.size for p in self.param_groups[0]["params"])
        return vector_state(key, value, self.param_groups[0]["params"][0].array, size)


def vector_state(key: str, value: Any, like: Array, size: int) -> Any:
    """One entry of an L-BFGS state: vectors on `like`'s device, everything else plain numbers."""
    if isinstance(value, (list, tuple)):
        return [vector_state(key, x, like, size) for x in value]  # type: ignore[misc]
    array = getattr(value, "array", value)
    if not hasattr(array, "shape") or not array.shape:
        return array.item() if hasattr(array, "item") else array
    found = move(as_array(array), device_of(like))
    if found.shape != (size,):
        text = f"LBFGS.load_state_dict: {key} has shape {found.shape}, the parameters ({size},)"
        raise ValueError(hinted(text, "the state belongs to another model"))
    return found.astype(like.dtype)


def _largest(x: Array) -> float:
    return float(abs(x).max()) if x.size else 0.0
