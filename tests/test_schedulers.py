"""Schedules beyond single trajectories: compositions, jumps, resuming, saving, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gradengine as ge
from gradengine import optim
from gradengine.optim import lr_scheduler as schedules

STEPS = 35


def made(library, momentum=0.0):
    """An optimiser of two groups with different rates, whose gradients are zero."""
    if library is optim:
        ws = [ge.tensor([1.0], requires_grad=True) for _ in "ab"]
    else:
        torch = pytest.importorskip("torch", reason="compares with PyTorch")
        ws = [torch.tensor([1.0], requires_grad=True) for _ in "ab"]
        library = torch.optim
    groups = [{"params": [ws[0]]}, {"params": [ws[1]], "lr": 0.02}]
    return library.SGD(groups, lr=0.05, momentum=momentum), library.lr_scheduler


def rates(optimizer, schedule, steps=STEPS):
    found = []
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(schedule.get_last_lr())
        found.append([g["lr"] for g in optimizer.param_groups])
    return np.array(found)


def both(build, steps=STEPS):
    """Rates of a schedule built from either library, with PyTorch's second."""
    found = []
    for library in (optim, "torch"):
        optimizer, source = made(library)
        found.append(rates(optimizer, build(optimizer, source), steps))
    return found


# --- compositions --------------------------------------------------------------------------------


def warm_up(optimizer, source):
    parts = [
        source.LinearLR(optimizer, start_factor=0.1, total_iters=5),
        source.CosineAnnealingLR(optimizer, T_max=12),
        source.ExponentialLR(optimizer, gamma=0.9),
    ]
    return source.SequentialLR(optimizer, parts, milestones=[5, 17])


def chained(optimizer, source):
    parts = [
        source.ConstantLR(optimizer, factor=0.1, total_iters=4),
        source.ExponentialLR(optimizer, gamma=0.9),
        source.StepLR(optimizer, step_size=10, gamma=0.5),
    ]
    return source.ChainedScheduler(parts)


def chain_in_sequence(optimizer, source):
    first = source.ChainedScheduler(
        [source.ConstantLR(optimizer, 0.5, 3), source.ExponentialLR(optimizer, 0.9)]
    )
    second = source.StepLR(optimizer, 4, gamma=0.5)
    return source.SequentialLR(optimizer, [first, second], milestones=[8])


def all_kinds_in_sequence(optimizer, source):
    parts = [
        source.StepLR(optimizer, 2, gamma=0.5),
        source.MultiStepLR(optimizer, [1, 3], gamma=0.5),
        source.PolynomialLR(optimizer, total_iters=4),
        source.LinearLR(optimizer, total_iters=3),
        source.ConstantLR(optimizer, total_iters=3),
        source.LambdaLR(optimizer, lambda n: 0.9**n),
        source.CosineAnnealingWarmRestarts(optimizer, 3),
    ]
    return source.SequentialLR(optimizer, parts, milestones=[5, 10, 15, 20, 25, 30])


@pytest.mark.parametrize("build", [warm_up, chained, all_kinds_in_sequence])
def test_compositions_have_pytorchs_rates(build):
    ours, theirs = both(build)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_chain_as_the_first_of_a_sequence():
    optimizer, source = made(optim)
    found = rates(optimizer, chain_in_sequence(optimizer, source), 12)[:, 0]
    early = [0.05 * (0.5 if n < 3 else 1.0) * 0.9**n for n in range(1, 8)]
    np.testing.assert_allclose(found, [*early, 0.05, 0.05, 0.05, 0.05, 0.025], rtol=1e-12)


def test_a_chain_and_a_sequence_as_later_parts_begin_anew():
    optimizer, source = made(optim)
    chain = source.ChainedScheduler(
        [source.ConstantLR(optimizer, 0.5, 2), source.ExponentialLR(optimizer, 0.9)]
    )
    inner = source.SequentialLR(
        optimizer,
        [source.StepLR(optimizer, 1, 0.5), source.ConstantLR(optimizer, 0.1, 9)],
        milestones=[2],
    )
    first = source.ConstantLR(optimizer, 1.0)
    outer = source.SequentialLR(optimizer, [first, chain, inner], milestones=[2, 5])
    found = rates(optimizer, outer, 9)[:, 0] / 0.05
    chain_rates = [0.5, 0.45, 0.81]
    np.testing.assert_allclose(found, [1, *chain_rates, 1, 0.5, 0.1, 0.1, 0.1], rtol=1e-12)


def test_a_sequence_in_a_sequence():
    optimizer, source = made(optim)
    parts = [source.ConstantLR(optimizer, 0.5, 9), source.StepLR(optimizer, 1, 0.1)]
    inner = source.SequentialLR(optimizer, parts, milestones=[3])
    last = source.ConstantLR(optimizer, 1.0)
    outer = source.SequentialLR(optimizer, [inner, last], milestones=[6])
    assert outer.get_last_lr() == [0.025, 0.01]
    found = rates(optimizer, outer, 7)[:, 0] / 0.05
    np.testing.assert_allclose(found, [0.5, 0.5, 1, 0.1, 0.01, 1, 1], rtol=1e-12)


# --- jumps: the closed forms ---------------------------------------------------------------------

CLOSED = {
    "StepLR": {"step_size": 4, "gamma": 0.5},
    "MultiStepLR": {"milestones": [2, 2, 9], "gamma": 0.5},
    "ConstantLR": {"total_iters": 6},
    "LinearLR": {"total_iters": 7},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 20, "power": 1.5},
    "CosineAnnealingLR": {"T_max": 9, "eta_min": 1e-3},
    "CosineAnnealingWarmRestarts": {"T_0": 3, "T_mult": 2},
}


@pytest.mark.parametrize(("name", "options"), CLOSED.items())
def test_the_recursion_is_the_closed_form(name, options):
    optimizer, source = made(optim)
    recursive = rates(optimizer, getattr(source, name)(optimizer, **options), 18)
    optimizer, source = made(optim)
    schedule = getattr(source, name)(optimizer, **options)
    optimizer.step()
    for n in (18, 3, 1, 7, 12):
        schedule.step(n)
        np.testing.assert_allclose(schedule.get_last_lr(), recursive[n - 1], rtol=1e-9)


def test_a_jump_is_pytorchs():
    found = []
    for library in (optim, "torch"):
        optimizer, source = made(library)
        schedule = source.CosineAnnealingWarmRestarts(optimizer, 3, T_mult=2, eta_min=1e-3)
        optimizer.step()
        path = []
        for epoch in (0.25, 0.5, 2.75, 3.0, 8.9, 9.0, 20.5, None, None, 1, None):
            schedule.step() if epoch is None else schedule.step(epoch)
            path.append(schedule.get_last_lr())
        found.append(path)
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_a_rate_changed_by_hand_stays_changed():
    optimizer, source = made(optim)
    schedule = source.ExponentialLR(optimizer, gamma=0.5)
    optimizer.step()
    optimizer.lr = 8.0
    schedule.step()
    assert schedule.get_last_lr() == [4.0, 4.0]


# --- momentum ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CyclicLR", "OneCycleLR"])
def test_betas_are_cycled_as_pytorch_does(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    given = {
        "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4},
        "OneCycleLR": {"max_lr": 0.1, "total_steps": 40, "three_phase": True},
    }[name]
    found = []
    for library, tensor in ((optim, ge.tensor), (torch.optim, torch.tensor)):
        optimizer = library.AdamW([tensor([1.0], requires_grad=True)], lr=0.05, betas=(0.5, 0.7))
        schedule = getattr(library.lr_scheduler, name)(optimizer, **given)
        path = []
        for _ in range(STEPS):
            path.append([schedule.get_last_lr()[0], *optimizer.param_groups[0]["betas"]])
            optimizer.step()
            schedule.step()
        found.append(path)
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_an_optimiser_without_momentum_cannot_cycle_it():
    optimizer = optim.Adagrad([ge.tensor([1.0], requires_grad=True)])
    with pytest.raises(ValueError, match="Adagrad has neither momentum nor betas"):
        schedules.CyclicLR(optimizer, 0.1, 0.2)
    schedules.CyclicLR(optimizer, 0.1, 0.2, cycle_momentum=False)


# --- resuming and saving -------------------------------------------------------------------------


class Halving:
    """A callable with state of its own."""

    def __init__(self):
        self.calls = 0

    def __call__(self, epoch):
        self.calls += 1
        return 0.5**self.calls


BUILDERS = {
    **{
        name: lambda optimizer, source, name=name, options=options: getattr(source, name)(
            optimizer, **options
        )
        for name, options in CLOSED.items()
    },
    "LambdaLR": lambda o, s: s.LambdaLR(o, Halving()),
    "MultiplicativeLR": lambda o, s: s.MultiplicativeLR(o, lambda n: 0.9),
    "CyclicLR": lambda o, s: s.CyclicLR(o, 0.1, 0.2, step_size_up=3, mode="triangular2"),
    "OneCycleLR": lambda o, s: s.OneCycleLR(o, 0.1, total_steps=40),
    "SequentialLR": warm_up,
    "ChainedScheduler": chained,
    "chain in sequence": chain_in_sequence,
    "SWALR": lambda o, s: optim.SWALR(o, 0.01, anneal_epochs=7),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_it_goes_on_from_a_state_dict_that_went_through_json(name):
    optimizer, source = made(optim, momentum=0.9)
    schedule = BUILDERS[name](optimizer, source)
    rates(optimizer, schedule, 11)
    saved = json.loads(json.dumps([optimizer.state_dict()["param_groups"], schedule.state_dict()]))
    rest = rates(optimizer, schedule, 20)
    other, source = made(optim, momentum=0.9)
    again = BUILDERS[name](other, source)
    other.load_state_dict({"state": {}, "param_groups": saved[0]})
    again.load_state_dict(saved[1])
    assert again.get_last_lr() == [g["lr"] for g in other.param_groups]
    np.testing.assert_array_equal(rates(other, again, 20), rest)
    assert other.param_groups[0]["momentum"] == optimizer.param_groups[0]["momentum"]


def test_a_plateau_goes_on_from_its_state():
    losses = [3.0, 2.0, 2.5, 2.5, 2.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    optimizer, source = made(optim)
    schedule = source.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1)
    for loss in losses[:5]:
        schedule.step(ge.tensor(loss))
    saved = json.loads(json.dumps(schedule.state_dict()))
    other, source = made(optim)
    again = source.ReduceLROnPlateau(other, factor=0.1)
    again.load_state_dict(saved)
    other.load_state_dict(optimizer.state_dict())
    for loss in losses[5:]:
        schedule.step(loss)
        again.step(loss)
    assert again.get_last_lr() == schedule.get_last_lr() == pytest.approx([0.05 / 8, 0.02 / 8])


@pytest.mark.parametrize("name", ["StepLR", "LinearLR", "CosineAnnealingLR", "ExponentialLR"])
def test_last_epoch_resumes_as_in_pytorch(name):
    found = []
    for library in (optim, "torch"):
        optimizer, source = made(library)
        for group in optimizer.param_groups:
            group["initial_lr"] = 2 * group["lr"]
        schedule = getattr(source, name)(optimizer, **CLOSED[name], last_epoch=3)
        found.append([schedule.get_last_lr(), *rates(optimizer, schedule, 12).tolist()])
    np.testing.assert_allclose(*found, rtol=1e-12)


def test_nothing_to_pickle():
    optimizer, source = made(optim, momentum=0.9)
    schedule = source.CyclicLR(optimizer, 0.1, 0.2, scale_fn=lambda x: 1.0)
    assert schedule.state_dict()["_scale_fn_custom"] is None
    assert source.LambdaLR(optimizer, Halving()).state_dict()["lr_lambdas"] == [{"calls": 2}] * 2


# --- what is refused -----------------------------------------------------------------------------


def test_a_first_step_before_the_optimisers_is_warned_about():
    optimizer, source = made(optim)
    schedule = source.StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match=r"before the optimizer's first step\(\)"):
        schedule.step()


def test_one_step_too_many():
    optimizer, source = made(optim)
    schedule = source.OneCycleLR(optimizer, 0.1, total_steps=3, cycle_momentum=False)
    rates(optimizer, schedule, 3)
    with pytest.raises(ValueError, match="step 4 of a schedule of 3"):
        schedule.step()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda o, s: s.StepLR(o, 0), "step_size must be positive"),
        (lambda o, s: s.ConstantLR(o, 2.0), "factor lies in"),
        (lambda o, s: s.LinearLR(o, start_factor=0.0), "start_factor lies in"),
        (lambda o, s: s.LinearLR(o, end_factor=2.0), "end_factor lies in"),
        (lambda o, s: s.PolynomialLR(o, 0), "total_iters must be positive"),
        (lambda o, s: s.CosineAnnealingLR(o, 0), "T_max must be positive"),
        (lambda o, s: s.CosineAnnealingWarmRestarts(o, 0), "T_0 must be"),
        (lambda o, s: s.CosineAnnealingWarmRestarts(o, 1, T_mult=0), "T_mult must be"),
        (lambda o, s: s.CosineAnnealingWarmRestarts(o, 2).step(-1), "epoch must not be negative"),
        (lambda o, s: s.LambdaLR(o, [lambda n: 1.0]), "1 values for 2 parameter groups"),
        (lambda o, s: s.CyclicLR(o, 0.1, 0.2, mode="square"), "mode is"),
        (lambda o, s: s.CyclicLR(o, [0.1], 0.2), "base_lr has 1 values"),
        (lambda o, s: s.OneCycleLR(o, 0.1), "length is not given"),
        (lambda o, s: s.OneCycleLR(o, 0.1, 5, pct_start=2.0), "pct_start lies in"),
        (lambda o, s: s.OneCycleLR(o, 0.1, 5, anneal_strategy="exp"), "anneal_strategy is"),
        (lambda o, s: s.ReduceLROnPlateau(o, factor=1.0), "factor must be below 1"),
        (lambda o, s: s.ReduceLROnPlateau(o, mode="low"), "mode is"),
        (lambda o, s: s.ReduceLROnPlateau(o, threshold_mode="?"), "threshold_mode is"),
        (lambda o, s: s.ReduceLROnPlateau(o, min_lr=[0.1]), "min_lr has 1 values"),
        (lambda o, s: s.StepLR(o, 3, last_epoch=5), "no 'initial_lr' to resume at 5"),
        (lambda o, s: s.SequentialLR(o, [], []), "schedulers must not be empty"),
        (lambda o, s: s.SequentialLR(o, [s.StepLR(o, 1)], [3]), "1 milestones between 1"),
        (lambda o, s: s.ChainedScheduler([s.ReduceLROnPlateau(o)]), "takes a metric"),
        (lambda o, s: s.ChainedScheduler([s.StepLR(o, 1)], made(optim)[0]), "another optimizer"),
        (lambda o, s: s.ChainedScheduler([s.StepLR(o, 1)]).step(3), "cannot jump"),
        (lambda o, s: s.StepLR(o, 1).load_state_dict({"T_max": 3}), "unknown entries"),
        (lambda o, s: s.StepLR(o, 1).load_state_dict({}), "no 'last_epoch'"),
        (lambda o, s: chained(o, s).load_state_dict({"last_epoch": 1}), "0 parts, this has 3"),
        (lambda o, s: optim.SWALR(o, 0.1, anneal_strategy="exp"), "anneal_strategy is"),
        (lambda o, s: optim.SWALR(o, 0.1, anneal_epochs=-1), "anneal_epochs"),
    ],
)
def test_bad_arguments(make, text):
    with pytest.raises(ValueError, match=text):
        make(*made(optim))


def test_bad_types():
    with pytest.raises(TypeError, match="list is no optimizer"):
        schedules.StepLR([], 3)
    optimizer, source = made(optim)
    with pytest.raises(TypeError, match=r"schedulers\[0\] is a float"):
        source.SequentialLR(optimizer, [0.1], [])
