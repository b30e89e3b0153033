"""Indices out of range on the device: found out without waiting, raised with the op's own words.

The stand-in is told to be behind: its events are not done until the host waits for it.
"""

from __future__ import annotations

import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine.cuda import checks
from gradengine.cuda.standin import runtime, standin

pytestmark = needs_emulator


@pytest.fixture(name="device", autouse=True)
def a_device_that_is_behind(monkeypatch):
    monkeypatch.delenv(checks.VARIABLE, raising=False)
    monkeypatch.setattr(checks, "_at_once", None)
    with standin():
        runtime.behind = True
        runtime.log.clear()
        yield


def table():
    return ge.tensor(np.arange(12.0).reshape(4, 3), device="cuda", requires_grad=True)


def indices(*values):
    return ge.tensor(list(values), device="cuda")


def embed(*values):
    return ge.take(table(), indices(*values), axis=0)


def loss_of(*labels, reduction="mean"):
    x = ge.tensor(np.zeros((len(labels), 5), "float32"), device="cuda", requires_grad=True)
    return ge.cross_entropy(x, indices(*labels), reduction=reduction)


BAD = {
    "take": (lambda: embed(1, 7, 2), r"take: index 7 is out of bounds for axis 0 with size 4"),
    "take, below": (lambda: embed(-5), r"take: index -5 is out of bounds"),
    "cross_entropy": (lambda: loss_of(1, 0, 5), r"cross_entropy: target 5 at position 2 lies out"),
    "cross_entropy, none": (lambda: loss_of(-1, 0, reduction="none"), r"target -1 at position 0"),
}


# --- when it is looked at ------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
def test_a_step_does_not_wait(name):
    make, text = BAD[name]
    y = make()
    y.sum().backward()
    ge.cross_entropy(ge.zeros((2, 3), device="cuda"), indices(0, 1))
    assert not {"copy to host", "synchronize device 0", "synchronize event"} & set(runtime.log)
    with pytest.raises(ge.OutOfRangeError, match=text):
        y.tolist()


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize(
    "wait",
    [
        lambda y: y.sum().item(),
        lambda y: y.tolist(),
        lambda y: y.detach().numpy(),
        lambda y: y.cpu(),
        lambda y: bool(y.sum() < 99),
        lambda y: float(y.sum()),
        lambda y: repr(y),
        lambda y: ge.asnumpy(y.detach()),
        lambda y: ge.cuda.synchronize(),
    ],
    ids=["item", "tolist", "numpy", "cpu", "bool", "float", "repr", "asnumpy", "synchronize"],
)
def test_what_waits_for_the_device_raises(name, wait):
    make, text = BAD[name]
    y = make()
    with pytest.raises(ge.OutOfRangeError, match=text):
        wait(y)
    wait(ge.ones(3, device="cuda"))  # it is said once


def test_the_next_check_raises_once_the_device_is_there():
    bad = embed(9)
    embed(1)
    loss_of(0, 1)
    runtime.behind = False
    with pytest.raises(ge.OutOfRangeError, match="index 9"):
        embed(2)
    assert bad.shape == (1, 3)
    assert "copy to host" not in runtime.log[:-2]
    assert embed(3).tolist() == [[9.0, 10.0, 11.0]]


def test_what_is_still_under_way_is_not_looked_at():
    import cupy

    good = ge.ones(3, device="cuda")
    embed(9)
    assert len(checks._waiting.checks) == 1
    checks.settle()
    assert len(checks._waiting.checks) == 1
    cupy.cuda.Event().synchronize()
    assert len(checks._waiting.checks) == 1  # done, but nobody has asked
    with pytest.raises(ge.OutOfRangeError):
        good.tolist()
    assert not checks._waiting.checks


def test_errors_come_in_the_order_of_their_launches():
    embed(8)
    loss_of(7, 0)
    embed(1)
    embed(9)
    for text in ("index 8", "target 7", "index 9"):
        with pytest.raises(ge.OutOfRangeError, match=text):
            ge.cuda.synchronize()
    ge.cuda.synchronize()


def test_good_indices_raise_nothing():
    y = embed(0, 3, -4, -1)
    y.sum().backward()
    loss = loss_of(0, 4, -100)
    assert loss.item() == pytest.approx(np.log(5))
    assert y.shape == (4, 3)
    assert not checks._waiting.checks


def test_more_checks_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(checks, "SLOTS", 4)
    embed(1)
    embed(9)
    embed(2)
    with pytest.raises(ge.OutOfRangeError, match="index 9"):
        embed(3)
    assert "synchronize event" in runtime.log


def test_the_error_is_the_cpus_with_a_note():
    with pytest.raises(IndexError) as here:
        ge.take(table().detach().cpu(), ge.tensor([1, 7, 2]), axis=0)
    embed(1, 7, 2)
    with pytest.raises(IndexError) as there:
        ge.cuda.synchronize()
    assert type(there.value) is type(here.value)
    (note,) = there.value.__notes__
    assert "earlier launch of take" in note
    assert "hint:" in note
    assert "ge.cuda.set_sync_checks(True)" in note
    assert "GRADENGINE_SYNC_CHECKS=1" in note


def test_indices_written_to_meanwhile():
    i = indices(1, 7)
    ge.take(table(), i, axis=0)
    i.array[...] = 0
    with pytest.raises(ge.OutOfRangeError, match=r"out of range: called with \(4, 3\).*\(2,\)"):
        ge.cuda.synchronize()


def test_logits_and_tables_are_not_kept():
    loss_of(0, 9)
    (check,) = checks._waiting.checks
    blank, labels = check.operands
    assert blank == checks.Blank((2, 5), np.dtype("float32"))
    assert labels.shape == (2,)
    checks.forget()


def test_a_bad_index_changes_no_other_row():
    weights = table()
    y = ge.take(weights, indices(1, 9, -9, 1), axis=0)
    y.backward(ge.ones((4, 3), dtype="float64", device="cuda"))
    with pytest.raises(ge.OutOfRangeError):
        ge.cuda.synchronize()
    assert weights.grad[:, 0].tolist() == [0.0, 2.0, 0.0, 0.0]
    assert y[1].tolist() == [0.0, 0.0, 0.0]


def test_nothing_is_filed_inside_a_capture():
    runtime.capturing = True
    embed(9)
    assert not checks._waiting.checks
    assert "record event" not in runtime.log


# --- at the op itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("how", ["function", "environment"])
def test_on_request_the_op_itself_raises(name, how, monkeypatch):
    if how == "function":
        ge.cuda.set_sync_checks(True)
    else:
        monkeypatch.setenv("GRADENGINE_SYNC_CHECKS", "1")
    assert checks.sync_checks()
    make, text = BAD[name]
    with pytest.raises(ge.OutOfRangeError, match=text) as caught:
        make()
    assert not any("earlier launch" in note for note in getattr(caught.value, "__notes__", ()))
    assert not checks._waiting.checks


def test_the_function_outweighs_the_environment(monkeypatch):
    monkeypatch.setenv("GRADENGINE_SYNC_CHECKS", "1")
    ge.cuda.set_sync_checks(False)
    assert not checks.sync_checks()
    monkeypatch.setattr(checks, "_at_once", None)
    monkeypatch.setenv("GRADENGINE_SYNC_CHECKS", "0")
    assert not checks.sync_checks()


def test_devices_each_have_their_own(monkeypatch):
    with ge.cuda.device(1):
        x = ge.tensor(np.arange(12.0).reshape(4, 3), device="cuda:1")
        ge.take(x, ge.tensor([5], device="cuda:1"), axis=0)
    with pytest.raises(ge.OutOfRangeError, match="index 5"):
        ge.cuda.synchronize("cuda:1")
    assert ge.cuda.current_device() == "cuda:0"
