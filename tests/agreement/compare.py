"""Run one case in gradengine and in PyTorch, and say by how much they differ.

Differences are relative to the largest magnitude of what PyTorch gives, or absolute below 1.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

import gradengine as ge
from gradengine import nn, optim
from gradengine.testing import check_grads

from .case import STEPS, Case

Found = dict[str, float]


def differences(case: Case) -> Found:
    """What was compared -> how far apart the libraries are in it."""
    return RUNNERS[case.kind](case)


# --- values in both libraries ---


def to_torch(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def to_ours(value: Any) -> Any:
    return ge.tensor(np.array(value)) if isinstance(value, np.ndarray) else value


def _each(convert: Callable[[Any], Any], values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _each(convert, value) for key, value in values.items()}
    if isinstance(values, tuple):
        return tuple(_each(convert, value) for value in values)
    return convert(values)


def tensors(values: Any) -> Iterator[Any]:
    """The tensors of a nested result, in order."""
    if isinstance(values, (ge.Tensor, torch.Tensor)):
        yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from tensors(value)
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors(value)


def numpy_of(value: Any) -> np.ndarray:
    return value.detach().numpy()


def apart(mine: Any, theirs: Any) -> float:
    """The largest difference; infinite where shapes or the places of infinities differ."""
    a, b = np.asarray(numpy_of(mine)), np.asarray(numpy_of(theirs))
    if a.shape != b.shape:
        raise AssertionError(f"shapes differ: {a.shape}, PyTorch {b.shape}")
    if not a.size:
        return 0.0
    if a.dtype.kind not in "fc":
        return 0.0 if np.array_equal(a, b) else np.inf
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(a - b))
    if np.isnan(distance).any():
        return np.inf
    finite = np.abs(b[np.isfinite(b)])
    return float(distance.max() / max(1.0, finite.max(initial=0.0)))


def worst(mine: Sequence[Any], theirs: Sequence[Any]) -> float:
    if len(mine) != len(theirs):
        raise AssertionError(f"{len(mine)} tensors, PyTorch {len(theirs)}")
    return max((apart(a, b) for a, b in zip(mine, theirs, strict=True)), default=0.0)


# --- layers and functions ---


def _leaves(arrays: Sequence[np.ndarray]) -> tuple[list[Any], list[Any]]:
    mine, theirs = [to_ours(x) for x in arrays], [to_torch(x) for x in arrays]
    for x, a, b in zip(arrays, mine, theirs, strict=True):
        if x.dtype.kind == "f":
            a.requires_grad_()
            b.requires_grad_()
    return mine, theirs


def _backward(mine: Any, theirs: Any) -> Found:
    """Outputs compared, then both sent back from the same cotangents."""
    outs, others = list(tensors(mine)), list(tensors(theirs))
    found = {"outputs": worst(outs, others)}
    random = np.random.default_rng(3)
    total: Any = 0.0
    reference: Any = 0.0
    for out, other in zip(outs, others, strict=True):
        if other.dtype.is_floating_point and other.requires_grad:
            assert out.requires_grad, "an output asks for no gradient"
            weight = random.normal(size=tuple(other.shape))
            total = total + (out * ge.tensor(weight)).sum()
            reference = reference + (other * torch.from_numpy(np.asarray(weight))).sum()
    if isinstance(reference, torch.Tensor):
        reference.backward()
        total.backward()
    return found


def _gradients(mine: Sequence[Any], theirs: Sequence[Any]) -> float:
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if b.requires_grad]
    furthest = 0.0
    for a, b in pairs:
        if b.grad is None or a.grad is None:
            given = b.grad if a.grad is None else a.grad
            assert given is None or not np.any(numpy_of(given)), "one library gives no gradient"
            continue
        furthest = max(furthest, apart(a.grad, b.grad.to_dense()))
    return furthest


def run_layer(case: Case) -> Found:
    torch.manual_seed(0)
    theirs = getattr(torch.nn, case.name)(
        *_each(to_torch, case.args), **_each(to_torch, case.kwargs)
    )
    theirs = theirs.double()
    mine = build(case)
    state = {key: value.numpy().copy() for key, value in theirs.state_dict().items()}
    assert list(mine.state_dict()) == list(state), f"names {list(mine.state_dict())}, {list(state)}"
    mine.load_state_dict(state)
    for model in (mine, theirs):
        model.train(case.mode == "train")
    inputs, others = _leaves(case.arrays())
    found = _backward(
        mine(*inputs, **_each(to_ours, case.call)), theirs(*others, **_each(to_torch, case.call))
    )
    found["input gradients"] = _gradients(inputs, others)
    names = [name for name, _ in mine.named_parameters()]
    assert names == [name for name, _ in theirs.named_parameters()]
    found["parameter gradients"] = _gradients(list(mine.parameters()), list(theirs.parameters()))
    found["buffers"] = worst(list(mine.buffers()), list(theirs.buffers()))
    return found


def build(case: Case) -> nn.Module:
    """Our layer of a case, in float64."""
    made = getattr(nn, case.name)(*_each(to_ours, case.args), **_each(to_ours, case.kwargs))
    return made.double().train(case.mode == "train")


def run_function(case: Case) -> Found:
    inputs, others = _leaves(case.arrays())
    mine = getattr(nn.functional, case.name)(
        *inputs, *_each(to_ours, case.args), **_each(to_ours, case.kwargs)
    )
    theirs = getattr(torch.nn.functional, case.name)(
        *others, *_each(to_torch, case.args), **_each(to_torch, case.kwargs)
    )
    return _backward(mine, theirs) | {"input gradients": _gradients(inputs, others)}


def check(case: Case) -> None:
    """Derivatives of a layer or function by central differences, to the order of the case."""
    arrays = case.arrays(small=True)
    fixed = {i: to_ours(x) for i, x in enumerate(arrays) if x.dtype.kind != "f"}
    free = [x for x in arrays if x.dtype.kind == "f"]

    def inputs(given: Sequence[Any]) -> list[Any]:
        rest = iter(given)
        return [fixed[i] if i in fixed else next(rest) for i in range(len(arrays))]

    if case.kind == "function":
        apply = getattr(nn.functional, case.name)
        args, kwargs = _each(to_ours, case.args), _each(to_ours, case.kwargs)
        check_grads(lambda *xs: apply(*inputs(xs), *args, **kwargs), free, order=case.order)
        return
    model = build(case)
    names = [name for name, _ in model.named_parameters()]
    buffers = {name: value.numpy().copy() for name, value in model.named_buffers()}
    random = np.random.default_rng(11)
    weights = [
        value.detach().numpy() + 0.05 * random.normal(size=value.shape)
        for value in model.parameters()
    ]
    call = _each(to_ours, case.call)

    def apply_layer(*values: Any) -> Any:
        own = dict(zip(names, values[len(free) :], strict=True))
        own |= {name: ge.tensor(value.copy()) for name, value in buffers.items()}
        return nn.functional_call(model, own, tuple(inputs(values[: len(free)])), call)

    check_grads(apply_layer, [*free, *weights], order=case.order)


# --- optimisers and schedulers ---

START = (np.linspace(-1.0, 1.2, 6).reshape(2, 3), np.array([0.5, -0.25]))
TARGET = np.linspace(0.3, -0.4, 8).reshape(4, 2)


def _loss(weight: Any, bias: Any, x: Any, target: Any, step: int) -> Any:
    """A quartic bowl that moves a little from step to step: gradients of both signs and sizes."""
    off = x @ weight.T + bias - target * (1 + 0.1 * step)
    return (off**2).sum() + 0.1 * (off**4).sum() + 0.05 * (weight**3).sum()


def _parameters(library: Any) -> tuple[Any, Any]:
    if library is torch:
        return tuple(torch.nn.Parameter(torch.from_numpy(x.copy())) for x in START)  # type: ignore[return-value]
    return tuple(nn.Parameter(x) for x in START)  # type: ignore[return-value]


def _data(library: Any) -> tuple[Any, Any]:
    x = np.random.default_rng(5).normal(size=(4, 3))
    convert = to_torch if library is torch else to_ours
    return convert(x), convert(TARGET)


def _closure(library: Any, optimizer: Any, params: tuple[Any, Any], step: int) -> Any:
    x, target = _data(library)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = _loss(*params, x, target, step)
        loss.backward()
        return loss

    return closure


def _trajectory(library: Any, case: Case) -> list[Any]:
    weight, bias = params = _parameters(library)
    groups: Any = [{"params": [weight]}, {"params": [bias]}]
    if "lr" in case.kwargs and case.name != "LBFGS":
        groups[1]["lr"] = 0.5 * case.kwargs["lr"]
    source = torch.optim if library is torch else optim
    chosen = [*params] if case.name == "LBFGS" else groups
    optimizer = getattr(source, case.name)(chosen, **copy.deepcopy(case.kwargs))
    path: list[Any] = []
    for step in range(STEPS):
        optimizer.step(_closure(library, optimizer, params, step))
        path += [weight.detach().numpy().copy(), bias.detach().numpy().copy()]
    return path


def _paths_apart(mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    assert len(mine) == len(theirs)
    assert not np.array_equal(mine[0], mine[-2]), "nothing moved"
    assert all(np.isfinite(a).all() for a in (*mine, *theirs)), "the trajectory is not finite"
    return max(
        float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))
        for a, b in zip(mine, theirs, strict=True)
    )


def run_optimiser(case: Case) -> Found:
    found = _paths_apart(_trajectory(ge, case), _trajectory(torch, case))
    return {f"{STEPS}-step trajectory": found}


def _rates(library: Any, case: Case) -> list[np.ndarray]:
    weight, bias = params = _parameters(library)
    source = torch.optim if library is torch else optim
    options = {"lr": 0.05, **case.setup}
    groups = [{"params": [weight]}, {"params": [bias], "lr": 0.4 * options["lr"]}]
    optimizer = source.SGD(groups, **options)
    made = getattr(source.lr_scheduler, case.name)(optimizer, *case.args, **case.kwargs)
    rates: list[np.ndarray] = []
    for step in range(STEPS):
        loss = optimizer.step(_closure(library, optimizer, params, 0))
        made.step(loss.item() + step % 3) if "metric" in case.call else made.step()
        rates.append(np.array([[g["lr"], g["momentum"]] for g in optimizer.param_groups]))
    return rates


def run_scheduler(case: Case) -> Found:
    mine, theirs = _rates(ge, case), _rates(torch, case)
    return {
        f"{STEPS}-step rates": max(
            float(np.abs(a - b).max()) for a, b in zip(mine, theirs, strict=True)
        )
    }


RUNNERS: dict[str, Callable[[Case], Found]] = {
    "layer": run_layer,
    "function": run_function,
    "optimiser": run_optimiser,
    "scheduler": run_scheduler,
}
