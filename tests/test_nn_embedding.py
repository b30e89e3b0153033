"""Embedding and EmbeddingBag: tables, gradients that are withheld, empty bags, mistakes."""

from __future__ import annotations

import numpy as np
import pytest

import gradengine as ge
from gradengine import nn
from gradengine.nn import functional as F
from gradengine.testing import check_grads


def table(rows: int = 5, width: int = 3) -> ge.Tensor:
    values = np.random.default_rng(0).normal(size=(rows, width))
    return ge.tensor(values, requires_grad=True)


# --- Embedding ---


def test_the_table_is_normal_and_the_padding_row_zero():
    layer = nn.Embedding(400, 50, padding_idx=-1, generator=ge.random.Generator(0))
    weight = layer.weight.numpy()
    assert layer.padding_idx == 399
    assert not weight[399].any()
    assert weight[:399].std() == pytest.approx(1.0, rel=0.02)
    assert abs(weight.mean()) < 0.02
    other = nn.Embedding(400, 50, generator=ge.random.Generator(0))
    np.testing.assert_array_equal(other.weight.numpy()[:399], weight[:399])


def test_lists_arrays_and_small_integers_are_indices():
    layer = nn.Embedding(5, 3)
    rows = layer.weight.numpy()[[[1, 2]]]
    for index in ([[1, 2]], np.array([[1, 2]], np.uint8), ge.tensor([[1, 2]])):
        np.testing.assert_array_equal(layer(index).numpy(), rows)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_are_kept_and_sums_are_wide(dtype):
    one = nn.Embedding(3, 2, dtype=dtype, padding_idx=0, scale_grad_by_freq=True)
    bag = nn.EmbeddingBag(3, 2, dtype=dtype, mode="mean", padding_idx=0)
    y = [one(np.ones(3000, int)), bag(np.ones((1, 3000), int))]
    assert [str(x.dtype) for x in y] == [dtype] * 2
    for layer, x in zip((one, bag), y, strict=True):
        x.sum().backward()
        assert str(layer.weight.grad.dtype) == dtype
        np.testing.assert_allclose(layer.weight.grad.numpy()[1].astype(float), 1.0, rtol=0.01)


def test_the_padding_row_gets_no_gradient_even_from_infinity():
    weight = table()
    y = F.embedding([[0, 1], [1, 2]], weight, padding_idx=1)
    seeds = np.array([[[1.0], [np.inf]], [[np.inf], [2.0]]])
    y.backward(np.broadcast_to(seeds, (2, 2, 3)).copy())
    assert weight.grad.numpy()[:, 0].tolist() == [1.0, 0.0, 2.0, 0.0, 0.0]


def test_second_derivatives_leave_it_out_too():
    weight = table()
    (first,) = ge.autograd.grad(
        (F.embedding([0, 1, 1], weight, padding_idx=1) ** 3).sum(), weight, create_graph=True
    )
    (second,) = ge.autograd.grad(first.sum(), weight)
    np.testing.assert_allclose(second.numpy()[0], 6 * weight.numpy()[0])
    assert not second.numpy()[1:].any()


def test_the_tangent_is_the_transpose_of_the_gradient():
    weight = table().detach()
    y, t = ge.jvp(
        lambda w: F.embedding([0, 1, 0], w, padding_idx=1, scale_grad_by_freq=True),
        (weight,),
        (ge.ones_like(weight),),
    )
    assert t.numpy()[:, 0].tolist() == [0.5, 0.0, 0.5]
    np.testing.assert_array_equal(y.numpy(), weight.numpy()[[0, 1, 0]])


def test_max_norm_scales_the_rows_that_are_read_in_the_table():
    weight = table()
    before = weight.numpy().copy()
    y = F.embedding([1, 3, 1], weight, max_norm=0.5)
    norms = np.linalg.norm(weight.numpy(), axis=1)
    assert (norms[[1, 3]] <= 0.5).all()
    assert norms[1] == pytest.approx(0.5)
    np.testing.assert_array_equal(weight.numpy()[[0, 2, 4]], before[[0, 2, 4]])
    np.testing.assert_array_equal(y.numpy(), weight.numpy()[[1, 3, 1]])
    y.sum().backward()
    assert weight.grad.numpy()[:, 0].tolist() == [0.0, 2.0, 0.0, 1.0, 0.0]
    assert weight.is_leaf


def test_from_pretrained():
    values = np.arange(6.0).reshape(3, 2)
    layer = nn.Embedding.from_pretrained(values, padding_idx=0)
    assert layer.weight.dtype == np.float64
    assert not layer.weight.requires_grad
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (3, 2, 0)
    assert layer([2, 0]).tolist() == [[4.0, 5.0], [0.0, 1.0]]
    bag = nn.EmbeddingBag.from_pretrained(ge.tensor(values), freeze=False, mode="sum")
    assert bag.weight.requires_grad
    assert bag([[0, 2]]).tolist() == [[4.0, 6.0]]
    values[0] = 9.0
    assert layer.weight.numpy()[0].tolist() == [0.0, 1.0]
    with pytest.raises(ge.ShapeError, match=r"a table of shape \(6,\)"):
        nn.Embedding.from_pretrained(np.zeros(6))


# --- EmbeddingBag ---


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_frequencies_divide_the_gradient_of_a_bag_as_of_its_rows(mode):
    """PyTorch 2.13 documents this and divides by other counts on the CPU."""
    index, weight = [[1, 2, 1], [4, 1, 4]], table()
    bags = F.embedding_bag(index, weight, mode=mode, scale_grad_by_freq=True)
    (bags**2).sum().backward()
    got, weight.grad = weight.grad, None
    rows = F.embedding(index, weight, scale_grad_by_freq=True)
    (getattr(rows, mode)(axis=1) ** 2).sum().backward()
    np.testing.assert_allclose(got.numpy(), weight.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_empty_bags_and_no_bags(mode):
    weight = table()
    y = F.embedding_bag([], weight, offsets=[0, 0], mode=mode)
    assert y.tolist() == [[0.0] * 3] * 2
    assert F.embedding_bag([], weight, offsets=[], mode=mode).shape == (0, 3)
    assert F.embedding_bag(np.zeros((0, 4), int), weight, mode=mode).shape == (0, 3)
    assert F.embedding_bag(np.zeros((2, 0), int), weight, mode=mode).tolist() == [[0.0] * 3] * 2
    padded = F.embedding_bag([[1, 1], [1, 2]], weight, mode=mode, padding_idx=1)
    assert padded.tolist() == [[0.0] * 3, weight.numpy()[2].tolist()]
    padded.sum().backward()
    assert weight.grad.numpy()[:, 0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_of_equal_rows_the_first_has_the_maximum():
    weight = ge.tensor([[1.0], [1.0], [0.0]], requires_grad=True)
    F.embedding_bag([[1, 0, 2]], weight, mode="max").sum().backward()
    assert weight.grad.tolist() == [[0.0], [1.0], [0.0]]


def test_weights_of_samples_have_derivatives():
    factors = ge.tensor(np.linspace(-1, 1, 5))

    def run(weight, factors):
        return F.embedding_bag(
            [0, 2, 2, 1, 4], weight, [0, 3], mode="sum", per_sample_weights=factors, padding_idx=1
        )

    check_grads(run, [table().detach(), factors], order=2)


def test_max_norm_of_bags():
    weight = table()
    F.embedding_bag([[1, 3]], weight, max_norm=0.5, mode="sum")
    norms = np.linalg.norm(weight.numpy(), axis=1)
    assert (norms[[1, 3]] <= 0.5).all()
    assert (norms[[0, 2, 4]] > 0.5).all()


# --- what a user gets wrong ---


def test_an_index_outside_names_the_layer_the_index_and_the_table():
    class Model(nn.Module):
        def __init__(self):
            self.tokens = nn.ModuleDict({"text": nn.Embedding(7, 3)})

        def forward(self, x):
            return self.tokens["text"](x)

    for wrong in (7, -1):
        with pytest.raises(ge.OutOfRangeError) as caught:
            Model()([[0, 1], [wrong, 2]])
        text = f"embedding: index {wrong} in a table of shape (7, 3)\n  hint: indices lie in [0, 6]"
        assert str(caught.value).startswith(text)
        assert caught.value.__notes__ == ["in Model.tokens.text (Embedding 7, 3)"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda w: F.embedding([0.5], w), ge.DTypeError, "indices must be integers|an array of"),
        (lambda w: F.embedding([0], w[0]), ge.ShapeError, r"weight has shape \(3,\)"),
        (lambda w: F.embedding([0], w, padding_idx=5), ge.OutOfRangeError, "padding_idx 5"),
        (lambda w: F.embedding([0], w, sparse=True), ge.GraphError, "sparse=True"),
        (lambda w: F.embedding([0], w[:0]), ge.OutOfRangeError, "the table has no rows"),
        (lambda w: F.embedding_bag([[5]], w), ge.OutOfRangeError, "embedding_bag: index 5"),
        (lambda w: F.embedding_bag([0], w), ge.ShapeError, r"input of shape \(1,\), offsets none"),
        (lambda w: F.embedding_bag([[0]], w, [0]), ge.ShapeError, r"offsets for input of shape"),
        (lambda w: F.embedding_bag([0], w, [[0]]), ge.ShapeError, r"offsets of shape \(1, 1\)"),
        (lambda w: F.embedding_bag([0], w, [1]), ge.OutOfRangeError, r"offsets \[1\]"),
        (lambda w: F.embedding_bag([0, 1, 1], w, [0, 2, 1]), ge.OutOfRangeError, "not decrease"),
        (lambda w: F.embedding_bag([0, 1], w, [0, 3]), ge.OutOfRangeError, "for 2 indices"),
        (
            lambda w: F.embedding_bag([0, 1], w, [0, 1], include_last_offset=True),
            ge.OutOfRangeError,
            "end with 2",
        ),
        (lambda w: F.embedding_bag([[0]], w, mode="min"), ge.OutOfRangeError, "mode 'min'"),
        (
            lambda w: F.embedding_bag([[0]], w, per_sample_weights=[[1.0]]),
            ge.GraphError,
            "per_sample_weights with mode 'mean'",
        ),
        (
            lambda w: F.embedding_bag([[0]], w, mode="sum", per_sample_weights=[1.0]),
            ge.ShapeError,
            r"per_sample_weights \(1,\), input \(1, 1\)",
        ),
        (
            lambda w: F.embedding_bag([[0]], w, mode="max", scale_grad_by_freq=True),
            ge.GraphError,
            "scale_grad_by_freq with mode 'max'",
        ),
        (lambda w: nn.Embedding(0, 3), ge.ShapeError, "Embedding: num_embeddings=0"),
        (lambda w: nn.Embedding(4, 3, padding_idx=4), ge.OutOfRangeError, "table of 4 rows"),
    ],
)
def test_mistakes(call, error, message):
    with pytest.raises(error, match=f"(?s)({message}).*"):
        call(table().detach())
    with pytest.raises(error, match="hint: "):
        call(table().detach())
