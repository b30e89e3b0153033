"""Attention: what the comparison with PyTorch leaves out: shared inputs, blocks, orders, errors,
16-bit floats, dropout, rotary positions, and decoding step by step with a cache.
"""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest

import gradengine as ge
import gradengine.nn.functional as F
from gradengine import nn, ops
from gradengine.errors import DTypeError, OutOfRangeError, ShapeError
from gradengine.graph import reachable
from gradengine.testing import check_grads

attention_ops = importlib.import_module("gradengine.ops.attention")
attention_functions = importlib.import_module("gradengine.nn.functional.attention")

TRIANGLE = np.tril(np.ones((3, 4), bool))
HOLES = np.array([[True, False, True, True], [False] * 4, [False, True, False, True]])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draws(*shapes: tuple[int, ...], seed: int = 0) -> list[ge.Tensor]:
    return [ge.tensor(rng(seed + i).normal(size=shape)) for i, shape in enumerate(shapes)]


def qkv(length: int = 3, keys: int = 4) -> list[ge.Tensor]:
    return draws((2, 2, length, 2), (2, 2, keys, 2), (2, 2, keys, 3))


def seeded(seed: int = 0) -> ge.random.Generator:
    return ge.random.Generator(seed)


def gradients(f, xs: list[ge.Tensor]) -> list[np.ndarray]:
    return [g.numpy() for g in ge.grad(lambda *a: (f(*a) ** 2).sum(), tuple(range(len(xs))))(*xs)]


# --- two ways to the same result ---

MASKS = {
    "none": None,
    "boolean": HOLES,
    "keys": np.array([True, False, True, True]),
    "added": rng(8).normal(size=(2, 1, 3, 4)),
    "vector": rng(8).normal(size=(4,)),
    "minus infinity": np.where(HOLES, 0.0, -np.inf),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("block", [1, 8, 24, 1 << 18])
@pytest.mark.parametrize("kind", MASKS)
def test_attention_in_blocks_equals_attention_of_kept_weights(
    kind: str, block: int, causal: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attention_ops, "BLOCK", block)
    xs, mask = qkv(), MASKS[kind]
    given = () if mask is None else (ge.tensor(mask),)
    floats = xs + [m for m in given if m.dtype.kind == "f"]
    fixed = [m for m in given if m.dtype.kind == "b"]
    options = {"scale": 0.7, "causal": causal, "first": 1}

    def kept(q, k, v, *m):
        return ops.matmul(ops.attention_weights(q, k, *m, *fixed, **options), v)

    def blocks(q, k, v, *m):
        return ops.attention(q, k, v, *m, *fixed, **options)

    np.testing.assert_allclose(blocks(*floats).numpy(), kept(*floats).numpy(), atol=1e-14)
    for a, b in zip(gradients(blocks, floats), gradients(kept, floats), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


def test_many_weights_are_not_kept(monkeypatch: pytest.MonkeyPatch):
    """The tape of long attention holds no array of the size of the weights."""
    xs = [x.requires_grad_() for x in draws((64, 4), (64, 4), (64, 4))]
    sizes = {}
    for kept in (1 << 24, 0):
        monkeypatch.setattr(attention_functions, "KEPT", kept)
        y = F.scaled_dot_product_attention(*xs)
        saved = [a for n in reachable([y.node]) for a in (n.saved or ()) if a is not None]
        sizes[kept] = max(a.size for a in saved if hasattr(a, "size"))
    assert sizes == {1 << 24: 64 * 64, 0: 64 * 4}


# --- any order ---


@pytest.mark.parametrize("kept", [0, 1 << 24])
@pytest.mark.parametrize("kind", ["none", "causal", "boolean", "added", "minus infinity"])
def test_derivatives_of_second_order(kind: str, kept: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attention_functions, "KEPT", kept)
    monkeypatch.setattr(attention_ops, "BLOCK", 8)
    if kind == "causal":
        check_grads(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), qkv(3, 2))
    elif kind == "added":
        check_grads(F.scaled_dot_product_attention, [*qkv(), ge.tensor(MASKS["added"])])
    else:
        mask = MASKS[kind]
        mask = None if mask is None else ge.tensor(mask)
        check_grads(lambda *x: F.scaled_dot_product_attention(*x, mask), qkv())


def test_third_order():
    q, k, v = draws((2, 2), (3, 2), (3, 1))
    check_grads(lambda *x: F.scaled_dot_product_attention(*x, is_causal=True), (q, k, v), order=3)


@pytest.mark.parametrize("mask", [HOLES, np.where(HOLES, 0.0, -np.inf)], ids=["boolean", "added"])
def test_an_empty_row_is_zero_and_gives_no_nan_in_any_order(mask: np.ndarray):
    q, k, v = qkv()

    def penalty(q, k, v):
        y = F.scaled_dot_product_attention(q, k, v, ge.tensor(mask))
        found = ge.autograd.grad((y**2).sum(), [q, k, v], create_graph=True)
        return sum((g**2).sum() for g in found)

    y = F.scaled_dot_product_attention(q, k, v, ge.tensor(mask))
    assert not y[:, :, 1].numpy().any()
    xs = [x.requires_grad_() for x in (q, k, v)]
    penalty(*xs).backward()
    assert all(np.isfinite(x.grad.numpy()).all() for x in xs)
    assert not xs[0].grad[:, :, 1].numpy().any()


def test_a_gradient_penalty_through_attention():
    """The gradient of a gradient's norm with respect to weights agrees with finite differences."""
    attend = nn.MultiheadAttention(4, 2, generator=seeded()).double()
    (x,) = draws((3, 1, 4))

    def penalty(w):
        y = nn.functional_call(attend, {"in_proj_weight": w}, (x, x, x))[0]
        (g,) = ge.autograd.grad((y**2).sum(), [x], create_graph=True)
        return ((g**2).sum() - 1) ** 2

    x.requires_grad_()
    check_grads(penalty, (attend.in_proj_weight.detach(),), order=1, modes=("reverse",))


# --- dtypes ---


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kept", [0, 1 << 24])
def test_16_bit_floats_have_their_softmax_in_float32(
    dtype: str, kept: int, monkeypatch: pytest.MonkeyPatch
):
    """Scores beyond 65504 overflow float16; here they only make a sharp softmax."""
    monkeypatch.setattr(attention_functions, "KEPT", kept)
    xs = [ge.tensor(rng(i).normal(size=(2, 5, 4))).astype(dtype) for i in range(3)]
    ys = [x.astype("float64") for x in xs]
    y = F.scaled_dot_product_attention(*xs, is_causal=True)
    assert str(y.dtype) == dtype
    expected = F.scaled_dot_product_attention(*ys, is_causal=True).numpy()
    np.testing.assert_allclose(y.astype("float64").numpy(), expected, atol=2e-2)
    found = ge.grad(lambda q: F.scaled_dot_product_attention(q, *xs[1:]).sum())(xs[0])
    assert str(found.dtype) == dtype
    large = [(x * 400).astype(dtype) for x in xs[:2]]
    sharp = F.scaled_dot_product_attention(*large, xs[2]).astype("float64").numpy()
    wide = F.scaled_dot_product_attention(*[x.astype("float64") for x in [*large, xs[2]]]).numpy()
    np.testing.assert_allclose(sharp, wide, atol=2e-2)


def test_the_mask_does_not_change_the_dtype():
    xs = [x.astype("float32") for x in qkv()]
    mask = ge.tensor(MASKS["minus infinity"])
    assert mask.dtype == np.float64
    assert F.scaled_dot_product_attention(*xs, mask).dtype == np.float32


def test_empty_lengths():
    q, k, v = draws((2, 0, 3), (2, 4, 3), (2, 4, 5))
    assert F.scaled_dot_product_attention(q, k, v).shape == (2, 0, 5)
    q, k, v = draws((2, 4, 3), (2, 0, 3), (2, 0, 5))
    assert F.scaled_dot_product_attention(q, k, v).tolist() == np.zeros((2, 4, 5)).tolist()


# --- dropout ---


def test_dropout_drops_weights_and_keeps_the_mean():
    xs = draws((1, 40, 4), (1, 50, 4), (1, 50, 2))
    plain = F.scaled_dot_product_attention(*xs).numpy()
    some = F.scaled_dot_product_attention(*xs, dropout_p=0.3, generator=seeded()).numpy()
    again = F.scaled_dot_product_attention(*xs, dropout_p=0.3, generator=seeded()).numpy()
    assert np.array_equal(some, again)
    assert not np.allclose(some, plain)
    means = [
        F.scaled_dot_product_attention(*xs, dropout_p=0.3, generator=seeded(i)).numpy()
        for i in range(200)
    ]
    np.testing.assert_allclose(np.mean(means, axis=0), plain, atol=0.1)


def test_dropout_of_the_layer_is_for_training_only():
    attend = nn.MultiheadAttention(4, 2, dropout=0.5, generator=seeded()).double()
    (x,) = draws((6, 1, 4))
    _, weights = attend(x, x, x, average_attn_weights=False)
    assert (weights.numpy() == 0).any()
    attend.eval()
    _, weights = attend(x, x, x, average_attn_weights=False)
    assert (weights.numpy() > 0).all()
    np.testing.assert_allclose(weights.numpy().sum(-1), 1)


# --- MultiheadAttention ---


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_shared_inputs_take_one_product_and_give_the_same(batch_first: bool, bias: bool):
    """Self-attention and attention to one memory project once, copies one by one."""
    attend = nn.MultiheadAttention(4, 2, bias=bias, batch_first=batch_first, generator=seeded())
    attend.double()
    x, memory = draws((3, 2, 4), (3, 2, 4))

    def parameters_after(*inputs):
        attend.zero_grad()
        y, w = attend(*inputs)
        ((y**2).sum() + (w**3).sum()).backward()
        return [y, w, *[p.grad for p in attend.parameters()]]

    for near, far in [
        ((x, x, x), (x, x * 1, x * 1)),
        ((x, memory, memory), (x, memory, memory * 1)),
    ]:
        for a, b in zip(parameters_after(*near), parameters_after(*far), strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-14)


def test_causal_without_a_mask():
    attend = nn.MultiheadAttention(4, 2, add_zero_attn=True, generator=seeded()).double()
    (x,) = draws((3, 2, 4))
    mask = ge.tensor(~np.tril(np.ones((3, 3), bool)))
    for needed in (False, True):
        a = attend(x, x, x, need_weights=needed, is_causal=True)[0]
        b = attend(x, x, x, need_weights=needed, attn_mask=mask)[0]
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-15)


def test_a_sequence_of_padding_gives_weights_of_zero_not_nan():
    attend = nn.MultiheadAttention(4, 2, generator=seeded()).double()
    (x,) = draws((3, 2, 4))
    ignored = ge.tensor(np.array([[False] * 3, [True] * 3]))
    y, w = attend(x, x, x, key_padding_mask=ignored)
    assert not w[1].detach().numpy().any()
    (y.sum() + w.sum()).backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in attend.parameters())


def test_initial_weights():
    attend = nn.MultiheadAttention(64, 4, add_bias_kv=True, generator=seeded())
    bound = math.sqrt(6 / (64 + 3 * 64))
    weights = np.abs(attend.in_proj_weight.detach().numpy())
    assert 0.98 * bound < weights.max() <= bound
    assert not attend.in_proj_bias.detach().numpy().any()
    assert not attend.out_proj.bias.detach().numpy().any()
    assert abs(attend.bias_k.detach().numpy().std() - math.sqrt(2 / 128)) < 0.04
    again = nn.MultiheadAttention(64, 4, add_bias_kv=True, generator=seeded())
    for a, b in zip(attend.parameters(), again.parameters(), strict=True):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())
    apart = nn.MultiheadAttention(8, 4, kdim=3, vdim=5, dtype="float64")
    assert [p.shape for p in apart.parameters()][:3] == [(8, 8), (8, 3), (8, 5)]
    assert {str(p.dtype) for p in apart.parameters()} == {"float64"}


# --- mistakes ---


def fails(kind: type[Exception], f, *words: str) -> None:
    with pytest.raises(kind) as caught:
        f()
    text = str(caught.value)
    assert "hint: " in text
    for word in words:
        assert word in text, text


def test_operands_that_do_not_fit():
    sdpa = F.scaled_dot_product_attention
    q, k, v = draws((2, 3, 4), (2, 5, 4), (2, 5, 6))
    fails(ShapeError, lambda: sdpa(q, k[..., :3], v), "query has 4", "key 3", "(2, 5, 3)")
    fails(ShapeError, lambda: sdpa(q, k, v[:, :4]), "5 keys and 4 values", "(2, 4, 6)")
    fails(ShapeError, lambda: sdpa(q[0, 0], k, v), "query (4,)")
    fails(DTypeError, lambda: sdpa(q, k.astype("int64"), v), "key is int64")
    four, two, three = draws((1, 4, 3, 2), (1, 2, 3, 2), (1, 3, 3, 2))
    fails(ShapeError, lambda: sdpa(four, two, two), "enable_gqa=True", "(1, 4, 3, 2)")
    fails(ShapeError, lambda: sdpa(four, three, three, enable_gqa=True), "multiple")
    fails(ShapeError, lambda: sdpa(four, two, three, enable_gqa=True), "as many of value")
    fails(ShapeError, lambda: sdpa(four[0, 0], two[0, 0], two[0, 0], enable_gqa=True), "heads")
    fails(OutOfRangeError, lambda: sdpa(q, k, v, dropout_p=1.5), "p=1.5")


def test_masks_that_do_not_fit():
    sdpa = F.scaled_dot_product_attention
    xs = qkv()
    fails(ShapeError, lambda: sdpa(*xs, ge.ones((4, 3))), "attn_mask (4, 3)", "(2, 2, 3, 4)")
    fails(ShapeError, lambda: sdpa(*xs, ge.ones((3, 1, 3, 4))), "(3, 1, 3, 4)")
    fails(DTypeError, lambda: sdpa(*xs, ge.ones((3, 4), dtype="int64")), "attn_mask (3, 4)")
    both = ge.ones((3, 4), dtype="bool")
    fails(ValueError, lambda: sdpa(*xs, both, is_causal=True), "is_causal", "(3, 4)")


def test_mistakes_with_the_layer():
    make = nn.MultiheadAttention
    fails(ShapeError, lambda: make(10, 4), "embed_dim=10", "num_heads=4")
    fails(OutOfRangeError, lambda: make(8, 4, dropout=2), "dropout=2")
    attend = make(4, 2)
    x, long = ge.zeros((3, 2, 4)), ge.zeros((5, 2, 4))
    fails(ShapeError, lambda: attend(ge.zeros((3, 2, 5)), x, x), "query (3, 2, 5)", "embed_dim=4")
    fails(ShapeError, lambda: attend(x, ge.zeros((3, 2, 5)), x), "key (3, 2, 5)", "kdim=4")
    fails(ShapeError, lambda: attend(x, x, long), "value (5, 2, 4)")
    fails(ShapeError, lambda: attend(x, x[0], x[0]), "key (2, 4)")
    fails(ShapeError, lambda: attend(x, ge.zeros((3, 7, 4)), ge.zeros((3, 7, 4))), "(3, 7, 4)")
    wrong = ge.zeros((3, 4), dtype="bool")
    fails(ShapeError, lambda: attend(x, x, x, attn_mask=wrong), "attn_mask", "(3, 4)", "(3, 3)")
    fails(ShapeError, lambda: attend(x, x, x, key_padding_mask=wrong), "key_padding_mask", "(2, 3)")
    numbers = ge.zeros((3, 3), dtype="int64")
    fails(DTypeError, lambda: attend(x, x, x, attn_mask=numbers), "attn_mask (3, 3) is int64")


def test_an_error_names_the_layer():
    model = nn.Sequential(nn.MultiheadAttention(4, 2))
    with pytest.raises(ShapeError) as caught:
        model[0](ge.zeros((3, 2, 5)), ge.zeros((3, 2, 5)), ge.zeros((3, 2, 5)))
    assert any("MultiheadAttention" in note for note in caught.value.__notes__)


# --- rotary positions ---


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_is_that_of_complex_numbers(interleaved: bool):
    (x,) = draws((2, 5, 6))
    y = nn.RotaryEmbedding(6, base=100.0, interleaved=interleaved)(x, offset=3).numpy()

    def as_complex(a: np.ndarray) -> np.ndarray:
        if interleaved:
            return a[..., 0::2] + 1j * a[..., 1::2]
        return a[..., :3] + 1j * a[..., 3:]

    angles = np.arange(3, 8)[:, None] * 100.0 ** (-np.arange(3) / 3)
    np.testing.assert_allclose(as_complex(y), as_complex(x.numpy()) * np.exp(1j * angles))


@pytest.mark.parametrize("interleaved", [False, True])
def test_scores_depend_on_the_distance_alone(interleaved: bool):
    q, k = draws((4, 8), (4, 8))
    rotary = nn.RotaryEmbedding(8, interleaved=interleaved)
    near = ops.matmul(rotary(q), rotary(k).T).numpy()
    far = ops.matmul(rotary(q, offset=1000), rotary(k, offset=1000).T).numpy()
    np.testing.assert_allclose(near, far, atol=1e-11)


def test_positions_can_be_given():
    (x,) = draws((2, 3, 4, 6))
    rotary = nn.RotaryEmbedding(6)
    places = np.array([[7, 0, 2, 2], [1, 1, 5, 0]])
    y = rotary(x, positions=places[:, None]).numpy()
    for b in range(2):
        for t, p in enumerate(places[b]):
            expected = rotary(x[b, :, t : t + 1], offset=int(p)).numpy()
            np.testing.assert_allclose(y[b, :, t : t + 1], expected)


@pytest.mark.parametrize("interleaved", [False, True])
def test_derivatives_of_rotations(interleaved: bool):
    xs = draws((2, 3, 4), (3, 2), (3, 2))
    check_grads(lambda *a: F.apply_rotary(*a, interleaved=interleaved), xs)
    check_grads(nn.RotaryEmbedding(4, interleaved=interleaved), (xs[0],))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_rotation_keeps_the_dtype(dtype: str):
    x = ge.ones((3, 4)).astype(dtype)
    y = nn.RotaryEmbedding(4)(x, offset=5000)
    assert str(y.dtype) == dtype
    exact = nn.RotaryEmbedding(4)(x.astype("float64"), offset=5000).numpy()
    bound = 1e-6 if dtype == "float32" else 1e-2
    np.testing.assert_allclose(y.astype("float64").numpy(), exact, atol=bound)


def test_mistakes_with_rotations():
    fails(ShapeError, lambda: nn.RotaryEmbedding(5), "dim=5")
    fails(ValueError, lambda: nn.RotaryEmbedding(4, base=0.0), "base=0.0")
    fails(ShapeError, lambda: nn.RotaryEmbedding(4)(ge.zeros((3, 6))), "(3, 6)", "dim=4")
    x, angle = ge.zeros((3, 4)), ge.zeros((3, 2))
    fails(ShapeError, lambda: F.apply_rotary(ge.zeros((3, 5)), angle, angle), "(3, 5)")
    fails(ShapeError, lambda: F.apply_rotary(x, angle, ge.zeros((2, 2))), "sin (2, 2)")
    fails(ShapeError, lambda: F.apply_rotary(x, x, x), "cos (3, 4)", "(3, 2)")
    assert repr(nn.RotaryEmbedding(4)) == (
        "RotaryEmbedding(dim=4, base=10000.0, interleaved=False)"
    )


# --- decoding with a cache ---


class Decoder(nn.Module):
    """One block of self-attention with rotary positions, for whole sequences or one step."""

    def __init__(self) -> None:
        self.projection = nn.Linear(8, 24, generator=seeded(1))
        self.out = nn.Linear(8, 8, generator=seeded(2))
        self.rotary = nn.RotaryEmbedding(4)

    def forward(self, x: ge.Tensor, cache: nn.KVCache | None = None) -> ge.Tensor:
        n, t, _ = x.shape
        heads = self.projection(x).reshape((n, t, 3, 2, 4))
        q, k, v = ops.unstack(ops.permute_dims(heads, (2, 0, 3, 1, 4)))
        start = 0 if cache is None else cache.length
        q, k = self.rotary(q, offset=start), self.rotary(k, offset=start)
        if cache is not None:
            k, v = cache.append(k, v)
        mask = ge.tensor(np.tril(np.ones((t, start + t), bool), start))
        y = F.scaled_dot_product_attention(q, k, v, mask)
        return self.out(ops.permute_dims(y, (0, 2, 1, 3)).reshape((n, t, 8)))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("steps", [[1] * 7, [3, 1, 1, 2], [7]])
def test_decoding_step_by_step_equals_the_whole(steps: list[int], recorded: bool):
    model = Decoder().double()
    (x,) = draws((2, 7, 8))
    whole = model(x).detach().numpy()
    cache, parts, at = nn.KVCache(max_length=7), [], 0
    for count in steps:
        with ge.enable_grad() if recorded else ge.no_grad():
            parts.append(model(x[:, at : at + count], cache).detach().numpy())
        at += count
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=1e-12)
    assert cache.length == 7
    assert repr(cache) == "KVCache(length=7, max_length=7)"


def test_gradients_flow_through_a_recorded_cache():
    model = Decoder().double()
    (x,) = draws((2, 4, 8))

    def whole(x):
        return (model(x) ** 2).sum()

    def stepwise(x):
        cache = nn.KVCache(4)
        return sum((model(x[:, i : i + 1], cache) ** 2).sum() for i in range(4))

    np.testing.assert_allclose(ge.grad(stepwise)(x).numpy(), ge.grad(whole)(x).numpy(), atol=1e-12)


def test_the_cache_is_written_in_place():
    cache = nn.KVCache(5)
    with ge.no_grad():
        first, _ = cache.append(*draws((1, 2, 3), (1, 2, 3)))
        second, _ = cache.append(*draws((1, 1, 3), (1, 1, 3)))
    assert np.shares_memory(first.numpy(), second.numpy())
    assert np.array_equal(first.numpy(), second.numpy()[:, :2])
    cache.reset()
    assert cache.length == 0
    with ge.no_grad():
        third, _ = cache.append(*draws((1, 4, 3), (1, 4, 3), seed=9))
        assert np.shares_memory(third.numpy(), second.numpy())
        cache.reset()
        keys, values = cache.append(*draws((3, 4, 2), (3, 4, 1)))  # another shape after reset
    assert (keys.shape, values.shape) == ((3, 4, 2), (3, 4, 1))


def test_a_recorded_part_is_not_overwritten():
    """Arrays the tape may read are never the cache's own memory."""
    cache = nn.KVCache(2)
    q, k, v, other = draws((1, 2), (1, 2), (1, 2), (2, 2))
    q.requires_grad_()
    keys, values = cache.append(k, v)
    y = F.scaled_dot_product_attention(q, keys, values)
    cache.reset()
    with ge.no_grad():
        cache.append(other, other)
    y.sum().backward()
    assert np.array_equal(keys.numpy(), k.numpy())


@pytest.mark.parametrize("recorded", [False, True])
def test_beams_are_reordered(recorded: bool):
    cache = nn.KVCache(4)
    k, v, more = draws((3, 2, 2), (3, 2, 1), (3, 1, 2))
    with ge.enable_grad() if recorded else ge.no_grad():
        cache.append(k, v)
        cache.reorder(np.array([2, 0, 2]))
        keys, values = cache.append(more, more[..., :1])
    assert np.array_equal(keys.numpy()[:, :2], k.numpy()[[2, 0, 2]])
    assert np.array_equal(values.numpy()[:, :2], v.numpy()[[2, 0, 2]])
    assert np.array_equal(keys.numpy()[:, 2:], more.numpy())


def test_mistakes_with_the_cache():
    fails(ShapeError, lambda: nn.KVCache(0), "max_length=0")
    cache = nn.KVCache(3)
    k, v = ge.zeros((2, 2, 4)), ge.zeros((2, 2, 5))
    cache.append(k, v)
    fails(OutOfRangeError, lambda: cache.append(k, v), "2 positions and 2 more", "max_length=3")
    fails(ShapeError, lambda: cache.append(k[:1], v[:1]), "key (1, 2, 4)", "(2, 2, 4)")
    fails(ShapeError, lambda: cache.append(k.double(), v), "float64", "float32")
    fails(ShapeError, lambda: cache.append(k, v[:, :1]), "(2, 1, 5)")
    assert cache.length == 2
