"""state_dict and load_state_dict: PyTorch's names, all mistakes in one error, nothing half done."""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import MemberError, StateError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1))


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("steps", ge.tensor(0))
        self.register_buffer("scratch", ge.zeros(2), persistent=False)
        self.register_buffer("absent", None)
        self.scale = nn.Parameter([1.0, 1.0])
        self.tied = self.inner


def values(module: nn.Module) -> dict[str, list[float]]:
    return {name: tensor.tolist() for name, tensor in module.state_dict().items()}


# --- out ---


def test_what_is_in_it_and_in_which_order():
    module = Stateful()
    assert list(module.state_dict()) == [
        "scale",
        "steps",
        "inner.weight",
        "inner.bias",
        "tied.weight",
        "tied.bias",
    ]
    assert next(iter(net().state_dict(prefix="net."))) == "net.0.weight"
    state = module.state_dict()
    assert not any(tensor.requires_grad for tensor in state.values())
    assert type(state["scale"]) is ge.Tensor
    assert module.state_dict(keep_vars=True)["scale"] is module.scale
    assert len(list(module.parameters())) == 3


def test_it_is_a_picture_of_now():
    module = Stateful()
    state = module.state_dict()
    with ge.no_grad():
        module.scale += 1.0
    assert state["scale"].tolist() == [1.0, 1.0]
    state["scale"][0] = 7.0
    assert module.scale.tolist() == [2.0, 2.0]


def test_two_tensors_of_one_name_are_refused():
    module = nn.Module()
    module.table = {"a.b": nn.Parameter([1.0]), "a": {"b": nn.Parameter([2.0])}}
    with pytest.raises(MemberError, match=r"(?s)two tensors are named 'table.a.b'.*hint: "):
        module.state_dict()


def test_names_are_pytorchs():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")

    def build(nn, tensor):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))])
                self.register_buffer("mean", tensor([1.0]))
                self.weights = nn.ParameterList([tensor([1.0]), tensor([2.0])])
                self.named = nn.ParameterDict({"a": tensor([1.0]), "b": tensor([2.0])})
                self.heads = nn.ModuleDict({"x": nn.Embedding(3, 2), "y": nn.Bilinear(1, 2, 3)})
                self.bias = nn.Parameter(tensor([1.0]))
                self.head = self.blocks[0]
                self.buffer = nn.Buffer(tensor([3.0]))

        return Model()

    ours, theirs = build(nn, ge.tensor), build(torch.nn, torch.tensor)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    names = [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == names
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), value.numpy())


def test_a_plain_list_has_the_names_of_a_module_list():
    listed, plain = nn.Module(), nn.Module()
    listed.blocks, plain.blocks = nn.ModuleList([nn.Linear(2, 2)]), [nn.Linear(2, 2)]
    plain.load_state_dict(listed.state_dict())
    assert values(plain) == values(listed)


# --- in ---


def test_it_comes_back():
    one, other = net(), net()
    weight = other[0].weight
    result = other.load_state_dict(one.state_dict())
    assert values(other) == values(one)
    assert other[0].weight is weight
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert repr(result) == "<All keys matched successfully>"
    with ge.no_grad():
        one[0].weight += 1.0
    assert values(other) != values(one)


def test_arrays_and_tensors_of_other_dtypes_are_taken():
    module = net()
    state = {name: np.full(t.shape, 0.5) for name, t in module.state_dict().items()}
    state["0.bias"] = ge.tensor([1, 2])
    state["2.bias"] = [3.0]
    module.load_state_dict(state)
    assert module[0].weight.dtype == np.float32
    assert module[0].bias.tolist() == [1.0, 2.0]
    assert module[2].bias.tolist() == [3.0]
    assert module[0].weight.requires_grad


def test_pytorchs_tensors_are_taken():
    torch = pytest.importorskip("torch", reason="loads PyTorch's tensors")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    module = net().double()
    module.load_state_dict(theirs.double().state_dict())
    np.testing.assert_array_equal(module[0].weight.numpy(), theirs[0].weight.detach().numpy())


def test_assign_takes_the_dtype_that_is_given():
    module = net()
    weight = module[0].weight
    module(ge.ones((1, 3))).sum().backward()
    state = {name: t.double() for name, t in module.state_dict().items()}
    module.load_state_dict(state, assign=True)
    assert module[0].weight is weight
    assert weight.dtype == np.float64
    assert weight.grad is None
    assert weight.requires_grad
    module(ge.ones((1, 3), dtype="float64")).sum().backward()
    assert weight.grad.dtype == np.float64


def test_a_graph_recorded_before_keeps_the_old_values():
    layer = nn.Linear(1, 1, bias=False)
    layer.load_state_dict({"weight": [[2.0]]})
    x = ge.tensor([[3.0]], requires_grad=True)
    y = layer(x)
    layer.load_state_dict({"weight": [[5.0]]})
    y.backward()
    assert x.grad.tolist() == [[2.0]]


def test_buffers_are_loaded_where_they_are():
    module = Stateful()
    state = module.state_dict()
    state["steps"] = ge.tensor(9)
    module.load_state_dict(state)
    assert module.steps.item() == 9
    module.steps = module.steps + 1
    module.load_state_dict(state)
    assert module.steps.item() == 9


# --- what is wrong ---


def test_everything_wrong_is_said_at_once_and_nothing_changed():
    module = net()
    before = values(module)
    state = {name: np.zeros(t.shape) for name, t in module.state_dict().items()}
    del state["0.bias"]
    state |= {"0.weight": np.zeros((2, 4)), "2.bias": np.zeros(()), "head.weight": np.zeros(2)}
    with pytest.raises(StateError) as caught:
        module.load_state_dict(state)
    assert str(caught.value) == (
        "load_state_dict: the state does not fit Sequential\n"
        "  missing (1): '0.bias'\n"
        "  unexpected (1): 'head.weight'\n"
        "  shape of '0.weight': given (2, 4), the module has (2, 3)\n"
        "  shape of '2.bias': given (), the module has (1,)\n"
        "  hint: build the module with the sizes of the one that was saved"
    )
    assert isinstance(caught.value, RuntimeError)
    assert values(module) == before


def test_without_strict_only_shapes_are_refused():
    module = net()
    result = module.load_state_dict({"0.bias": [1.0, 2.0], "x": [1.0]}, strict=False)
    assert result.missing_keys == ["0.weight", "2.weight", "2.bias"]
    assert result.unexpected_keys == ["x"]
    assert module[0].bias.tolist() == [1.0, 2.0]
    assert "unexpected_keys=['x']" in repr(result)
    with pytest.raises(StateError, match=r"(?s)'0.bias': given \(3,\), the module has \(2,\)"):
        module.load_state_dict({"0.bias": np.zeros(3)}, strict=False)


def test_a_prefix_too_many_or_too_few_is_named():
    module = net()
    wrapped = {f"module.{name}": t for name, t in module.state_dict().items()}
    with pytest.raises(StateError, match=r"hint: .*removeprefix\('module\.'\)"):
        module.load_state_dict(wrapped)
    holder = nn.ModuleDict({"net": net()})
    with pytest.raises(StateError, match=r"hint: the names lack 'net\.'"):
        holder.load_state_dict(module.state_dict())


def test_long_lists_are_cut():
    wide = nn.ModuleList(nn.Linear(1, 1) for _ in range(10))
    with pytest.raises(StateError, match=r"missing \(20\): .*, and 8 more"):
        wide.load_state_dict({})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([1.0], "got a list"),
        ({"weight": "no array"}, "'weight' is a str"),
        ({"weight": None}, "'weight' is a NoneType"),
        ({"weight": [[1.0], [1.0, 2.0]]}, "'weight' is a list"),
    ],
)
def test_what_is_no_state(state, message):
    layer = nn.Linear(1, 1, bias=False)
    before = values(layer)
    with pytest.raises(ge.DTypeError, match=f"(?s){message}.*hint: "):
        layer.load_state_dict(state)
    assert values(layer) == before
