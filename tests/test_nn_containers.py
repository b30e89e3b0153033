"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict: the manners of lists, dicts."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import MemberError


def kinds(modules) -> list[str]:
    return [type(module).__name__ for module in modules]


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_children()]


# --- Sequential ---


def test_sequential_runs_in_order_and_may_be_named():
    model = nn.Sequential(OrderedDict(first=nn.Linear(3, 2), bend=nn.Tanh()))
    assert list(model.state_dict()) == ["first.weight", "first.bias"]
    x = ge.ones((1, 3))
    assert model(x).tolist() == ge.tanh(model.first(x)).tolist()
    assert nn.Sequential()(x) is x
    assert model.bend is model[-1] is model[1]


def test_one_module_may_stand_twice():
    bend = nn.Tanh()
    model = nn.Sequential(bend, bend)
    assert len(model) == 2
    assert kinds(model.children()) == ["Tanh"]
    assert model(ge.ones(1)).item() == ge.tanh(ge.tanh(ge.ones(1))).item()


@pytest.mark.parametrize("build", [nn.Sequential, lambda *m: nn.ModuleList(m)])
def test_both_are_lists(build):
    model = build(nn.Tanh(), nn.ReLU(), nn.Sigmoid())
    assert kinds(model) == ["Tanh", "ReLU", "Sigmoid"]
    assert model[0] in model
    assert kinds(model[1:]) == ["ReLU", "Sigmoid"]
    assert type(model[::2]) is type(model)
    model[-1] = nn.Identity()
    model.append(nn.Tanh()).insert(1, nn.Sigmoid()).extend([nn.ReLU(), nn.ReLU()])
    wanted = ["Tanh", "Sigmoid", "ReLU", "Identity", "Tanh", "ReLU", "ReLU"]
    assert kinds(model) == wanted
    assert names(model) == [str(i) for i in range(7)]
    assert kinds([model.pop(), model.pop(1)]) == ["ReLU", "Sigmoid"]
    del model[0]
    del model[-2:]
    assert kinds(model) == ["ReLU", "Identity"]
    assert names(model) == ["0", "1"]
    model.insert(-1, nn.Tanh())
    model += [nn.Sigmoid()]
    assert kinds(model) == ["ReLU", "Tanh", "Identity", "Sigmoid"]
    assert kinds(copy.deepcopy(model)) == kinds(model)


def test_sums_and_products():
    a, b = nn.Sequential(nn.Tanh()), nn.Sequential(nn.ReLU(), nn.Sigmoid())
    assert kinds(a + b) == ["Tanh", "ReLU", "Sigmoid"]
    assert kinds(b * 2) == kinds(2 * b) == ["ReLU", "Sigmoid"] * 2
    assert (b * 2)[0] is b[0]
    b *= 2
    assert kinds(b) == ["ReLU", "Sigmoid"] * 2
    listed = nn.ModuleList([nn.Tanh()]) + nn.ModuleList([nn.ReLU()])
    assert type(listed) is nn.ModuleList
    assert kinds(listed) == ["Tanh", "ReLU"]


def test_a_slice_shares_its_modules_and_names():
    model = nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=nn.Tanh(), c=nn.Linear(2, 2)))
    part = model[1:]
    assert names(part) == ["b", "c"]
    assert part[1] is model.c
    assert len(list((part + part).parameters())) == 2


@pytest.mark.parametrize(
    ("take", "error", "message"),
    [
        (lambda m: m[3], ge.OutOfRangeError, "index 3 is out of range"),
        (lambda m: m.pop(-4), IndexError, "index -4 is out of range"),
        (lambda m: m.insert(9, nn.Tanh()), IndexError, "index 9 is out of range"),
        (lambda m: m.__setitem__(3, nn.Tanh()), IndexError, "index 3 is out of range"),
        (lambda m: m.__setitem__(0, 3), TypeError, "got a int, no module"),
        (lambda m: m.append(nn.Tanh), TypeError, "got a class Tanh, no module"),
        (lambda m: m.insert(0, ge.tanh), TypeError, "got a function, no module"),
        (lambda m: m.extend(nn.Tanh()), TypeError, "got one Tanh"),
    ],
)
@pytest.mark.parametrize("build", [nn.Sequential, lambda *m: nn.ModuleList(m)])
def test_what_a_list_refuses(build, take, error, message):
    model = build(nn.Tanh(), nn.ReLU(), nn.Sigmoid())
    with pytest.raises(error, match=f"(?s){message}.*hint: "):
        take(model)
    assert kinds(model) == ["Tanh", "ReLU", "Sigmoid"]


def test_what_sequential_refuses():
    with pytest.raises(TypeError, match="got a function, no module"):
        nn.Sequential(nn.Tanh(), ge.tanh)
    with pytest.raises(ge.OutOfRangeError, match="repeated 0 times"):
        nn.Sequential(nn.Tanh()) * 0
    with pytest.raises(AttributeError, match="forward"):
        nn.ModuleList([nn.Tanh()])(ge.ones(1))


# --- ModuleDict ---


def test_module_dict_is_a_dict():
    model = nn.ModuleDict({"a": nn.Tanh()})
    model["b"] = nn.ReLU()
    model.update([("c", nn.Sigmoid()), ("a", nn.Identity())])
    model.update(nn.ModuleDict({"d": nn.Tanh()}))
    assert list(model) == list(model.keys()) == ["a", "b", "c", "d"]
    assert kinds(model.values()) == ["Identity", "ReLU", "Sigmoid", "Tanh"]
    assert [key for key, _ in model.items()] == list(model)
    assert "b" in model
    assert "x" not in model
    assert len(model) == 4
    assert kinds([model.pop("b"), model["c"]]) == ["ReLU", "Sigmoid"]
    del model["c"]
    assert names(model) == ["a", "d"]
    assert model.a is model["a"]
    model.clear()
    assert len(model) == 0


@pytest.mark.parametrize(
    ("take", "error", "message"),
    [
        (lambda m: m["relv"], KeyError, "(?s)no key 'relv'.*did you mean 'relu'"),
        (lambda m: m.pop("x"), KeyError, "no key 'x'"),
        (lambda m: m.__delitem__("training"), KeyError, "no key 'training'"),
        (lambda m: m.__setitem__("keys", nn.Tanh()), KeyError, "'keys' exists"),
        (lambda m: m.__setitem__("a.b", nn.Tanh()), KeyError, "cannot be named 'a.b'"),
        (lambda m: m.__setitem__("a", 3), TypeError, "got a int, no module"),
        (lambda m: m.update([("a",)]), TypeError, "something else than pairs"),
    ],
)
def test_what_a_module_dict_refuses(take, error, message):
    model = nn.ModuleDict({"relu": nn.ReLU()})
    with pytest.raises(error, match=message) as caught:
        take(model)
    assert isinstance(caught.value, ge.GradengineError)
    assert "\n  hint: " in str(caught.value)
    assert list(model) == ["relu"]


# --- parameters ---


def test_parameter_list():
    values = nn.ParameterList([ge.tensor([1.0]), nn.Parameter([2.0])])
    values.append(ge.tensor([3.0])).extend([nn.Parameter([4.0])])
    values += [ge.tensor([5.0])]
    assert [name for name, _ in values.named_parameters()] == ["0", "1", "2", "3", "4"]
    assert [p.item() for p in values] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert len(values) == 5
    assert values[-1].item() == 5.0
    assert type(values[1:3]) is nn.ParameterList
    assert values[1:3][0] is values[1]
    values[0] = ge.tensor([9.0])
    assert isinstance(values[0], nn.Parameter)
    values[1] = "text"
    assert [name for name, _ in values.named_parameters()] == ["0", "2", "3", "4"]
    assert copy.deepcopy(values)[0].item() == 9.0
    with pytest.raises(ge.OutOfRangeError, match="ParameterList: index 5"):
        values[5]


def test_parameter_dict():
    values = nn.ParameterDict({"a": ge.tensor([1.0]), "b": nn.Parameter([2.0])})
    values["c"] = ge.tensor([3.0])
    values.update([("d", ge.tensor([4.0]))])
    assert list(values) == list(values.keys()) == ["a", "b", "c", "d"]
    assert list(reversed(values)) == ["d", "c", "b", "a"]
    assert [name for name, _ in values.named_parameters()] == list(values)
    assert [p.item() for p in values.values()] == [1.0, 2.0, 3.0, 4.0]
    assert dict(values.items())["b"] is values["b"] is values.b
    assert values.get("x") is None
    assert values.get("a") is values["a"]
    assert values.setdefault("a", ge.tensor([7.0])).item() == 1.0
    assert values.setdefault("e", ge.tensor([5.0])).item() == 5.0
    assert values.popitem()[0] == "e"
    assert values.pop("d").item() == 4.0
    assert "d" not in values
    both = values | nn.ParameterDict({"z": ge.tensor([8.0])})
    assert list(both) == ["a", "b", "c", "z"]
    assert both["a"] is values["a"]
    values |= nn.ParameterDict({"y": ge.tensor([6.0])})
    assert list(values.copy()) == list(values) == ["a", "b", "c", "y"]
    assert list(values.fromkeys(["p", "q"], ge.tensor([0.0]))) == ["p", "q"]
    values["a"] = "text"
    assert [name for name, _ in values.named_parameters()] == ["b", "c", "y"]
    values.clear()
    assert len(values) == 0
    with pytest.raises(MemberError, match="popitem of an empty one"):
        values.popitem()
    with pytest.raises(KeyError, match="no key 'x'"):
        values["x"]
    with pytest.raises(KeyError, match="'keys' exists"):
        values["keys"] = ge.tensor([1.0])
    with pytest.raises(KeyError, match="is a int"):
        values[3] = ge.tensor([1.0])


def test_their_reprs():
    listed = nn.ParameterList([ge.zeros((2, 3)), nn.Parameter(ge.zeros(())), "text"])
    assert repr(listed) == (
        "ParameterList(\n"
        "    (0): Parameter containing: [float32 of size 2x3]\n"
        "    (1): Parameter containing: [float32 of size ]\n"
        "    (2): Object of type: str\n"
        ")"
    )
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    theirs = torch.nn.ParameterDict({"a": torch.zeros(2), "b": torch.zeros(3, 1)})
    ours = nn.ParameterDict({"a": ge.zeros(2), "b": ge.zeros((3, 1))})
    assert repr(ours) == repr(theirs).replace("torch.FloatTensor", "float32")
