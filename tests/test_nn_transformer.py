"""Transformers: stacks against PyTorch, what a mask hides, dropout, penalties, mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn, ops
from gradengine.errors import ShapeError
from gradengine.testing import check_grads

PADDING = np.array([[False, False, False, True], [False, True, True, True]])


def seeded(seed: int = 0) -> ge.random.Generator:
    return ge.random.Generator(seed)


def draw(*shape: int, seed: int = 0) -> ge.Tensor:
    return ge.tensor(np.random.default_rng(seed).normal(size=shape))


def encoder_layer(dropout: float = 0.0, **options: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(4, 2, 5, dropout, generator=seeded(), **options).double()


def decoder_layer(dropout: float = 0.0, **options: object) -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(4, 2, 5, dropout, generator=seeded(), **options).double()


def close(a: ge.Tensor, b: object, atol: float = 1e-12) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=0, atol=atol)


# --- stacks ---


@pytest.mark.parametrize("normed", [False, True])
def test_stacks_agree_with_pytorch(normed: bool):
    torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")
    theirs = torch.nn.ModuleDict(
        {
            "encoder": torch.nn.TransformerEncoder(
                torch.nn.TransformerEncoderLayer(4, 2, 5, 0.0),
                2,
                torch.nn.LayerNorm(4) if normed else None,
                enable_nested_tensor=False,
            ),
            "decoder": torch.nn.TransformerDecoder(
                torch.nn.TransformerDecoderLayer(4, 2, 5, 0.0),
                3,
                torch.nn.LayerNorm(4) if normed else None,
            ),
        }
    ).double()
    for i, p in enumerate(theirs.parameters()):  # the copies start equal
        p.data = torch.from_numpy(np.random.default_rng(i).normal(size=tuple(p.shape)))
    encoder = nn.TransformerEncoder(encoder_layer(), 2, nn.LayerNorm(4) if normed else None)
    decoder = nn.TransformerDecoder(decoder_layer(), 3, nn.LayerNorm(4) if normed else None)
    mine = nn.ModuleDict({"encoder": encoder, "decoder": decoder}).double()
    mine.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
    src, tgt = draw(4, 2, 4), draw(3, 2, 4, seed=1)
    mask = np.triu(np.ones((3, 3), bool), 1)

    def run(model, library, src, tgt):
        ignored = library.tensor(PADDING)
        memory = model["encoder"](src, src_key_padding_mask=ignored)
        y = model["decoder"](
            tgt, memory, tgt_mask=library.tensor(mask), memory_key_padding_mask=ignored
        )
        (y**3).sum().backward()
        return y

    a = run(mine, ge, src, tgt)
    b = run(theirs, torch, torch.from_numpy(src.numpy()), torch.from_numpy(tgt.numpy()))
    close(a, b)
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-9)


def test_the_layers_of_a_stack_are_copies_of_their_own():
    layer = encoder_layer()
    stack = nn.TransformerEncoder(layer, 3)
    assert len(stack.layers) == stack.num_layers == 3
    parameters = list(stack.parameters())
    assert len(parameters) == 3 * len(list(layer.parameters()))
    first, second = (dict(x.named_parameters()) for x in list(stack.layers)[:2])
    for name, p in first.items():
        assert np.array_equal(p.detach().numpy(), second[name].detach().numpy())
        assert not np.shares_memory(p.detach().numpy(), second[name].detach().numpy())
    assert all(p.requires_grad and p.is_leaf for p in parameters)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "bias": False}])
def test_the_model_agrees_with_pytorch_sequence_first(options: dict[str, bool]):
    torch = pytest.importorskip("torch", reason="PyTorch, an optional test dependency, is missing")
    torch.manual_seed(0)
    theirs = torch.nn.Transformer(4, 2, 1, 2, 5, 0.0, **options).double()
    mine = nn.Transformer(4, 2, 1, 2, 5, 0.0, **options).double()
    mine.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
    src, tgt = draw(4, 2, 4), draw(3, 2, 4, seed=1)
    a, b = mine(src, tgt), theirs(*(torch.from_numpy(x.numpy()) for x in (src, tgt)))
    close(a, b)
    (a**3).sum().backward()
    (b**3).sum().backward()
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-9)


def test_a_model_of_custom_stacks():
    class Doubled(nn.Module):
        def forward(self, tgt, memory, *_):
            return 2 * tgt + memory.sum()

    encoder = nn.TransformerEncoder(encoder_layer(), 1)
    model = nn.Transformer(4, 2, custom_encoder=encoder, custom_decoder=Doubled())
    src, tgt = draw(4, 2, 4), draw(3, 2, 4, seed=1)
    close(model(src, tgt), 2 * tgt + encoder(src).sum())


def test_initial_weights_of_the_model():
    model = nn.Transformer(32, 4, 1, 1, 64, generator=seeded())
    for name, p in model.named_parameters():
        values = np.abs(p.detach().numpy())
        if p.ndim > 1:
            bound = math.sqrt(6 / sum(p.shape))
            assert 0.95 * bound < values.max() <= bound, name
    again = nn.Transformer(32, 4, 1, 1, 64, generator=seeded())
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())


def test_dtype_of_the_parameters():
    model = nn.Transformer(4, 2, 1, 1, 5, dtype="float64")
    assert {str(p.dtype) for p in model.parameters()} == {"float64"}
    for dtype in ("float16", "bfloat16"):
        y = encoder_layer().to(dtype=dtype)(draw(3, 2, 4).astype(dtype))
        assert str(y.dtype) == dtype
        exact = encoder_layer()(draw(3, 2, 4)).detach().numpy()
        np.testing.assert_allclose(y.detach().astype("float64").numpy(), exact, atol=0.1)


# --- masks ---


def test_a_position_knows_nothing_of_later_ones():
    layer = encoder_layer(batch_first=True, activation="gelu")
    x = draw(1, 6, 4)
    mask = nn.Transformer.generate_square_subsequent_mask(6)
    full = layer(x, mask)
    close(layer(x, is_causal=True), full)
    for t in range(1, 6):
        close(layer(x[:, :t], is_causal=True), full[:, :t])


def test_the_subsequent_mask():
    mask = nn.Transformer.generate_square_subsequent_mask(3, dtype="float64")
    assert mask.dtype == np.float64
    assert np.array_equal(mask.numpy(), np.where(np.tri(3) > 0, 0.0, -np.inf))


def test_what_is_padding_changes_nothing_else():
    layer = encoder_layer(batch_first=True)
    x, other = draw(2, 4, 4), draw(2, 4, 4, seed=1)
    ignored = ge.tensor(PADDING)
    mixed = ops.where(ge.tensor(PADDING[:, :, None]), other, x)
    a, b = (layer(z, src_key_padding_mask=ignored).detach().numpy() for z in (x, mixed))
    np.testing.assert_allclose(a[~PADDING], b[~PADDING], atol=1e-14)
    assert not np.allclose(a[PADDING], b[PADDING])


def test_a_sequence_of_padding_gives_no_nan():
    layer = encoder_layer(batch_first=True)
    x = draw(2, 4, 4).requires_grad_()
    ignored = ge.tensor(np.array([[False] * 4, [True] * 4]))
    y = layer(x, src_key_padding_mask=ignored)
    (g,) = ge.autograd.grad((y**3).sum(), [x], create_graph=True)
    (g**2).sum().backward()
    assert np.isfinite(y.detach().numpy()).all()
    assert np.isfinite(x.grad.numpy()).all()
    assert all(p.grad is None or np.isfinite(p.grad.numpy()).all() for p in layer.parameters())


# --- gradients of gradients ---


def test_a_gradient_penalty_trains_a_transformer():
    """The norm of the input's gradient is a loss: its own gradient agrees with differences."""
    layer = encoder_layer(batch_first=True, activation="gelu")
    head = nn.Linear(4, 1, generator=seeded()).double()
    x = draw(2, 3, 4).requires_grad_()

    def penalty(weight):
        y = head(nn.functional_call(layer, {"self_attn.in_proj_weight": weight}, (x,)))
        (g,) = ge.autograd.grad(y.sum(), [x], create_graph=True)
        return ((g**2).sum() ** 0.5 - 1) ** 2

    weight = layer.self_attn.in_proj_weight.detach()
    check_grads(penalty, (weight,), order=1, modes=("reverse",))
    penalty(layer.self_attn.in_proj_weight).backward()
    assert np.abs(layer.self_attn.in_proj_weight.grad.numpy()).max() > 1e-6


# --- dropout and activations ---


def test_dropout_is_for_training_only():
    for layer, inputs in [
        (encoder_layer(0.5), (draw(4, 2, 4),)),
        (decoder_layer(0.5), (draw(4, 2, 4), draw(4, 2, 4, seed=1))),
    ]:
        state = ge.random.get_state()
        a, b = layer(*inputs), layer(*inputs)
        assert not np.allclose(a.detach().numpy(), b.detach().numpy())
        ge.random.set_state(state)
        close(layer(*inputs), a, atol=0)
        layer.eval()
        close(layer(*inputs), layer(*inputs), atol=0)
        layer.train()
        assert layer.dropout1.training


@pytest.mark.parametrize(
    ("given", "named"), [(ops.relu, "relu"), (nn.ReLU(), "relu"), (nn.GELU(), "gelu")]
)
def test_activation_may_be_a_function_or_a_module(given: object, named: str):
    x = draw(3, 2, 4)
    close(encoder_layer(activation=given)(x), encoder_layer(activation=named)(x), atol=0)


# --- mistakes ---


def fails(kind: type[Exception], f, *words: str) -> None:
    with pytest.raises(kind) as caught:
        f()
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "hint: " in text
    for word in words:
        assert word in text, text


def test_mistakes_name_what_is_wrong_and_where():
    x = ge.zeros((3, 2, 4))
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5), 2)
    wrong = ge.zeros((3, 2, 6))
    fails(ShapeError, lambda: stack(wrong), "query (3, 2, 6)", "embed_dim=4", "layers.0.self_attn")
    mask = ge.zeros((4, 4))
    fails(ShapeError, lambda: stack(x, mask), "attn_mask", "(4, 4)", "(3, 3)")
    fails(ValueError, lambda: encoder_layer(activation="tahn"), "'tahn'", "'gelu'")
    fails(ShapeError, lambda: nn.TransformerEncoderLayer(5, 2), "embed_dim=5", "num_heads=2")


def test_mistakes_with_the_model():
    model = nn.Transformer(4, 2, 1, 1, 5)
    x = ge.zeros((3, 2, 4))
    fails(ShapeError, lambda: model(x, ge.zeros((3, 2, 5))), "tgt (3, 2, 5)", "d_model=4")
    fails(ShapeError, lambda: model(x, ge.zeros((3, 3, 4))), "axis 1", "batch_first=False")
    fails(ShapeError, lambda: model(x, ge.zeros((3, 4))), "src (3, 2, 4)", "tgt (3, 4)")
