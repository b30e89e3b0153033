"""Module: the tree and its names, buffers, modes, conversion, copies, where errors are."""

from __future__ import annotations

import copy
import pickle
import threading
from collections import namedtuple

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.errors import MemberError

Pair = namedtuple("Pair", "left right")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def seeded(seed: int = 0) -> ge.random.Generator:
    return ge.random.Generator(seed)


class Branch(nn.Module):
    """Parameters and modules in attributes, lists, tuples and dicts."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(np.ones(3))
        self.layers = [
            nn.Linear(3, 3, generator=seeded()),
            nn.Sequential(nn.Tanh(), nn.Linear(3, 2)),
        ]
        self.named = {"gate": nn.Linear(2, 1), "extra": (nn.Parameter(np.zeros(1)), "text", 3)}
        self.again = self.layers[0]
        self.constant = ge.tensor([1.0])
        self.nothing = None

    def forward(self, x):
        for layer in self.layers:
            x = layer(x * self.scale)
        return self.named["gate"](x)


class Counting(nn.Module):
    """A buffer that `forward` replaces, one that is not saved, and a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", ge.tensor(0))
        self.register_buffer("mean", np.zeros(2, np.float32), persistent=False)
        self.register_buffer("absent", None)
        self.weight = nn.Parameter([1.0, 2.0])

    def forward(self, x):
        self.count = self.count + 1
        self.mean = (self.mean + x.detach()) / 2
        return self.weight * x


# --- the tree ---


def test_names_follow_the_attributes_and_each_is_listed_once():
    assert [name for name, _ in Branch().named_parameters()] == [
        "scale",
        "named.extra.0",
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.1.weight",
        "layers.1.1.bias",
        "named.gate.weight",
        "named.gate.bias",
    ]
    assert [name for name, _ in Branch().named_modules()] == [
        "",
        "layers.0",
        "layers.1",
        "layers.1.0",
        "layers.1.1",
        "named.gate",
    ]


def test_prefix_recurse_and_duplicates():
    branch = Branch()
    assert next(branch.named_parameters("top"))[0] == "top.scale"
    own = [name for name, _ in branch.named_parameters(recurse=False)]
    assert own == ["scale", "named.extra.0"]
    assert len(list(branch.parameters(recurse=False))) == 2
    twice = [name for name, _ in branch.named_parameters(remove_duplicate=False)]
    assert [name for name in twice if "again" in name] == ["again.weight", "again.bias"]
    paths = [name for name, _ in branch.named_modules(prefix="top", remove_duplicate=False)]
    assert paths[0] == "top"
    assert paths[-1] == "top.again"
    left_out = {branch.layers[1]}
    assert "layers.1.1" not in dict(branch.named_modules(memo=left_out))
    assert len(list(branch.modules())) == 6
    assert [type(m).__name__ for m in branch.children()] == ["Linear", "Sequential", "Linear"]


def test_a_parameter_is_a_leaf_that_asks_for_a_gradient():
    parameter = nn.Parameter(np.ones((2, 3), np.float32))
    assert isinstance(parameter, ge.Tensor)
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.dtype == np.float32
    assert type(parameter * 2) is ge.Tensor
    assert "Parameter" in repr(parameter)
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad


def test_a_module_that_contains_itself_ends():
    branch = Branch()
    branch.parent = branch
    branch.layers[1].above = [branch]
    assert len(list(branch.named_modules())) == 6
    assert len(list(branch.named_modules(remove_duplicate=False))) == 7
    assert branch.eval() is branch
    assert not branch.named["gate"].training
    called: list[nn.Module] = []
    branch.apply(called.append)
    assert called[-1] is branch
    assert len(called) == 6
    assert branch.state_dict().keys() == Branch().state_dict().keys()


def test_parts_by_name():
    branch = Branch()
    assert branch.get_submodule("") is branch
    assert branch.get_submodule("layers.1.1") is branch.layers[1][1]
    assert branch.get_submodule("again") is branch.layers[0]
    assert branch.get_parameter("named.extra.0") is branch.named["extra"][0]
    assert Counting().get_buffer("count").item() == 0
    with pytest.raises(MemberError, match=r"(?s)no module is named 'layers.1.7'.*hint: did you"):
        branch.get_submodule("layers.1.7")
    with pytest.raises(AttributeError, match="no parameter is named 'weight'"):
        branch.get_parameter("weight")
    with pytest.raises(KeyError, match=r"(?s)no buffer is named 'x'.*hint: it has none"):
        branch.get_buffer("x")


# --- taking parts ---


def test_buffers_are_names_whatever_tensor_they_hold():
    module = Counting()
    assert [name for name, _ in module.named_buffers()] == ["count", "mean"]
    module(ge.tensor([1.0, 3.0]))
    assert module.count.item() == 1
    assert module.get_buffer("mean").tolist() == [0.5, 1.5]
    module.absent = ge.tensor([5.0])
    assert [b.tolist() for b in module.buffers()] == [1, [0.5, 1.5], [5.0]]
    module.count = None
    assert "count" not in dict(module.named_buffers())
    del module.mean
    assert list(dict(module.named_buffers())) == ["absent"]
    module.mean = ge.tensor([0.0])
    assert list(dict(module.named_buffers())) == ["absent"]
    module.absent = nn.Parameter([1.0])
    assert list(dict(module.named_buffers())) == []
    assert "absent" in dict(module.named_parameters())


def test_a_buffer_object_registers_itself():
    module = nn.Module()
    module.kept, module.passing = nn.Buffer([1.0]), nn.Buffer([2.0], persistent=False)
    module.several = [nn.Buffer([3.0]), nn.Buffer([4.0], persistent=False)]
    names = [name for name, _ in module.named_buffers()]
    assert sorted(names) == ["kept", "passing", "several.0", "several.1"]
    assert sorted(module.state_dict()) == ["kept", "several.0"]
    module.passing = ge.tensor([5.0])
    assert module.get_buffer("passing").tolist() == [5.0]
    assert not module.kept.requires_grad
    assert isinstance(module.passing * module.kept, ge.Tensor)


def test_registering_by_name():
    module = nn.Module()
    module.register_parameter("weight", nn.Parameter([1.0]))
    module.register_parameter("bias", None)
    module.add_module("inner", nn.Linear(1, 1))
    module.register_module("none", None)
    assert list(dict(module.named_parameters())) == ["weight", "inner.weight", "inner.bias"]
    module.register_parameter("bias", nn.Parameter([2.0]))
    module.register_parameter("weight", nn.Parameter([3.0]))
    module.add_module("inner", nn.Tanh())
    assert [p.item() for p in module.parameters()] == [3.0, 2.0]


@pytest.mark.parametrize(
    ("take", "error", "message"),
    [
        (lambda m: m.register_buffer("a.b", None), KeyError, "cannot be named 'a.b'"),
        (lambda m: m.register_buffer("", None), KeyError, "cannot be named ''"),
        (lambda m: m.register_buffer(3, None), MemberError, "is a int"),
        (lambda m: m.register_buffer("forward", None), KeyError, "'forward' exists"),
        (lambda m: m.register_buffer("weight", None), KeyError, "'weight' exists"),
        (lambda m: m.register_parameter("count", None), KeyError, "'count' exists"),
        (lambda m: m.register_parameter("new", ge.ones(2)), TypeError, "'new' is a Tensor"),
        (lambda m: m.add_module("weight", nn.Tanh()), KeyError, "'weight' exists"),
        (lambda m: m.add_module("new", nn.Tanh), TypeError, "'new' is a type"),
        (lambda m: setattr(m, "weight", ge.ones(2)), TypeError, "parameter 'weight' set to"),
        (lambda m: setattr(m, "weight", 3.0), TypeError, "parameter 'weight' set to a float"),
        (lambda m: setattr(m, "count", 3.0), TypeError, "buffer 'count' set to a float"),
    ],
)
def test_what_cannot_be_taken(take, error, message):
    module = Counting()
    module.forward  # noqa: B018  # exists
    with pytest.raises(error, match=f"(?s){message}.*hint: ") as caught:
        take(module)
    assert isinstance(caught.value, ge.GradengineError)
    assert [name for name, _ in module.named_parameters()] == ["weight"]
    assert [name for name, _ in module.named_buffers()] == ["count", "mean"]


def test_a_module_takes_no_arguments_of_its_own():
    with pytest.raises(TypeError):
        nn.Module(3)


# --- changing all of it ---


def test_train_eval_zero_grad_and_freezing():
    branch = Branch()
    assert branch.eval() is branch
    assert not any(module.training for _, module in branch.named_modules())
    branch.train()
    assert all(module.training for _, module in branch.named_modules())
    x = ge.tensor(rng().normal(size=(4, 3)))
    branch(x).sum().backward()
    with_gradient = {name for name, p in branch.named_parameters() if p.grad is not None}
    assert with_gradient == {name for name, _ in branch.named_parameters()} - {"named.extra.0"}
    branch.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in branch.parameters() if p.grad is not None)
    assert branch.scale.grad is not None
    branch.zero_grad()
    assert all(parameter.grad is None for parameter in branch.parameters())
    branch.requires_grad_(False)
    assert not branch(x).requires_grad
    assert branch.requires_grad_(True)(x).requires_grad


def test_zero_grad_clears_what_is_not_finite():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.grad = ge.tensor([[np.inf]])
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0]]


def test_a_train_of_its_own_is_called_and_decides_below():
    class Frozen(nn.Module):
        def __init__(self):
            self.inner = nn.Sequential(nn.Tanh())

        def train(self, mode=True):
            return super().train(False)

    model = nn.Sequential(Frozen(), nn.Tanh())
    model.train()
    assert [module.training for module in model.modules()] == [True, False, False, False, True]
    with pytest.raises(TypeError, match=r"(?s)mode is a str.*hint: "):
        model.train("eval")


def test_apply_goes_from_the_leaves_to_the_root():
    model = nn.Sequential(nn.Sequential(nn.Tanh(), nn.ReLU()), nn.Sigmoid())
    order: list[str] = []
    assert model.apply(lambda module: order.append(type(module).__name__)) is model
    assert order == ["Tanh", "ReLU", "Sequential", "Sigmoid", "Sequential"]


def test_to_moves_and_converts_in_place():
    layer = nn.Linear(3, 2, generator=seeded())
    weight = layer.weight
    layer(ge.zeros((1, 3))).sum().backward()
    assert layer.to("cpu") is layer
    assert layer.to(dtype=np.float64) is layer
    assert layer.weight is weight
    assert weight.dtype == weight.grad.dtype == np.float64
    assert layer(ge.zeros((1, 3), dtype=np.float64)).dtype == np.float64
    assert layer.to(ge.zeros(1, dtype="float16")).weight.dtype == np.float16


def test_only_floats_are_converted():
    module = Counting()
    for name in ("double", "half", "bfloat16", "float"):
        assert getattr(module, name)() is module
        wanted = {"double": "float64", "half": "float16", "float": "float32"}.get(name, name)
        found = [str(module.weight.dtype), str(module.mean.dtype), str(module.count.dtype)]
        assert found == [wanted, wanted, "int64"]
    assert module.cpu().weight.device == "cpu"
    assert module.type("float64").count.dtype == np.float64
    with pytest.raises(ge.DTypeError, match=r"(?s)int64 is no real float.*hint: "):
        module.to("int64")


def test_the_dtype_of_a_frozen_parameter_may_be_anything():
    module = nn.Module()
    module.table = nn.Parameter(np.arange(3), requires_grad=False)
    assert module.double().table.dtype == np.int64


# --- copies ---


def test_a_deep_copy_shares_nothing_and_keeps_what_is_shared():
    model = nn.Sequential(nn.Linear(2, 2), Counting(), nn.Linear(2, 2))
    model[2].weight = model[0].weight
    model.both = [model[0]]
    model[0].register_forward_hook(lambda *_: None)
    model(ge.ones((1, 2))).sum().backward()
    other = copy.deepcopy(model)
    assert repr(other) == repr(model)
    assert other[0].weight is other[2].weight is not model[0].weight
    assert other.both[0] is other[0]
    assert other[0].weight.requires_grad
    assert other[0].weight.grad.tolist() == model[0].weight.grad.tolist()
    assert list(dict(other.named_buffers())) == list(dict(model.named_buffers()))
    assert list(other.state_dict()) == list(model.state_dict())
    before = model.state_dict()["1.count"].item()
    other[0].register_forward_hook(lambda *_: None)
    other(ge.ones((1, 2)))
    with ge.no_grad():
        other[0].weight += 1.0
    assert model.state_dict()["1.count"].item() == before
    assert (model[0].weight.numpy() != other[0].weight.numpy()).all()
    assert len(model[0]._hooks.of("after")) == 1


def test_a_module_with_a_generator_can_be_copied():
    layer = nn.Module()
    layer.generator = seeded(3)
    other = copy.deepcopy(layer)
    assert other.generator is not layer.generator
    assert other.generator.take() == layer.generator.take()


def test_a_shallow_copy_has_attributes_of_its_own():
    module = Counting()
    other = copy.copy(module)
    del other.count
    other.extra = nn.Buffer([1.0])
    assert list(dict(module.named_buffers())) == ["count", "mean"]
    assert other.weight is module.weight


def test_pickle_keeps_the_kinds():
    model = nn.Sequential(nn.Linear(2, 1), nn.Tanh())
    model[0].register_buffer("seen", ge.tensor([1.0]), persistent=False)
    model[0].other = nn.Buffer([2.0], persistent=False)
    again = pickle.loads(pickle.dumps(model))
    assert list(again.state_dict()) == ["0.weight", "0.bias"]
    assert list(dict(again.named_buffers())) == ["0.seen", "0.other"]
    assert isinstance(again[0].weight, nn.Parameter)


# --- text ---


def test_repr_is_a_tree():
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2, bias=False)))
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Linear(in_features=4, out_features=3, bias=True)\n"
        "  (1): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Linear(in_features=3, out_features=2, bias=False)\n"
        "  )\n"
        ")"
    )


def test_reprs_are_pytorchs():
    torch = pytest.importorskip("torch", reason="compares with PyTorch")

    def build(nn):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.table = nn.Embedding(5, 4, padding_idx=0, max_norm=1.0)
                self.bag = nn.EmbeddingBag(5, 4, mode="sum", norm_type=1.0)
                self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)] + [nn.Tanh()])
                self.heads = nn.ModuleDict({"a": nn.Bilinear(2, 3, 4), "b": nn.Sequential()})
                self.shapes = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 2)), nn.Identity())
                self.empty = nn.ModuleList()

            def extra_repr(self):
                return "width=4,\ndepth=2"

        Model.__name__ = "Model"
        return Model()

    assert repr(build(nn)) == repr(build(torch.nn))


# --- where an error happened ---


def notes(error: BaseException) -> list[str]:
    return [note for note in error.__notes__ if note.startswith("in ")]


def test_an_error_names_the_module_it_came_from():
    branch = Branch()
    branch.layers[1] = nn.Sequential(nn.Tanh(), nn.Sequential(nn.Linear(7, 2)))
    with pytest.raises(ge.ShapeError) as caught:
        branch(ge.zeros((2, 3)))
    assert notes(caught.value) == [
        "in Branch.layers.1.1.0 (Linear in_features=7, out_features=2, bias=True)"
    ]


def test_paths_lead_through_containers():
    class Deep(nn.Module):
        def __init__(self):
            self.blocks = nn.ModuleList([nn.ModuleDict({"a": nn.Tanh()}), nn.ModuleDict()])
            self.blocks[1]["wide"] = nn.Sequential(nn.Tanh(), nn.ModuleList([nn.Linear(7, 2)])[0])
            self.plain = {"x": [nn.Linear(5, 2)]}

        def forward(self, x, plain):
            return self.plain["x"][0](x) if plain else self.blocks[1]["wide"](x)

    for plain, path in ((False, "Deep.blocks.1.wide.1"), (True, "Deep.plain.x.0")):
        with pytest.raises(ge.ShapeError) as caught:
            nn.Sequential(Deep())[0](ge.zeros((2, 3)), plain)
        assert notes(caught.value)[0].split()[1] == path
        assert len(notes(caught.value)) == 1


def test_the_path_is_noted_with_hooks_too():
    model = nn.Sequential(nn.Linear(7, 2))
    model[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ge.ShapeError) as caught:
        model(ge.zeros((2, 3)))
    assert notes(caught.value)[0].startswith("in Sequential.0 (Linear ")


def test_the_path_is_that_of_the_thread_that_failed():
    found: list[str] = []

    def work(width: int) -> None:
        model = nn.Sequential(*[nn.Tanh() for _ in range(width)], nn.Linear(2, 1))
        for _ in range(20):
            with pytest.raises(ge.ShapeError) as caught:
                model(ge.zeros((1, 3)))
            found.extend(notes(caught.value))

    threads = [threading.Thread(target=work, args=(width,)) for width in (1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted({note.split()[1] for note in found}) == ["Sequential.1", "Sequential.3"]
    assert len(found) == 40


def test_a_caught_error_leaves_no_trace():
    class Fallback(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Linear(7, 2), nn.Linear(3, 2)

        def forward(self, x):
            try:
                return self.first(x)
            except ge.ShapeError:
                return self.second(x)

    assert Fallback()(ge.zeros((1, 3))).shape == (1, 2)


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(AttributeError, match="forward"):
        Empty()(1)
