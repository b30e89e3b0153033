"""Random numbers: the published vectors, the contract, the distributions, the generator."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

import gradengine as ge
from gradengine import philox
from gradengine.ops.noise import dropout_

F32, F64, F16 = np.dtype("float32"), np.dtype("float64"), np.dtype("float16")

# --- the function ---

# Random123 1.09, kat_vectors, philox4x32-10.
VECTORS = [
    ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_known_answers(counter, key, expected):
    words = philox.philox(np, [np.full(1, c, np.uint64) for c in counter], key)
    assert tuple(int(w[0]) for w in words) == expected


def reference(counter, key):
    """Philox4x32-10 in Python integers, written from the paper."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
@pytest.mark.parametrize("offset", [0, 3, 2**33 + 1])
def test_words_follow_the_contract(seed, offset):
    found = philox.words(np, 11, seed, offset)
    key = (seed & 0xFFFFFFFF, seed >> 32)
    expected = [
        reference((i // 4, 0, offset & 0xFFFFFFFF, offset >> 32), key)[i % 4] for i in range(11)
    ]
    assert found.tolist() == expected


def test_blocks_and_high_counters_change_nothing(monkeypatch):
    whole = philox.words(np, 100, 5, 6)
    monkeypatch.setattr(philox, "BLOCK", 3)
    assert np.array_equal(philox.words(np, 100, 5, 6), whole)
    assert np.array_equal(philox.words(np, 60, 5, 6, start=40), whole[40:])
    far = philox.words(np, 4, 5, 6, start=4 * (2**32 + 7))
    assert far.tolist() == reference((7, 1, 6, 0), (5, 0))


# --- numbers ---


def test_uniform_float32_is_the_word_shifted():
    words = philox.words(np, 1000, 3, 4)
    u = philox.uniform(np, (10, 100), F32, 3, 4)
    assert u.dtype == F32
    assert np.array_equal(u.ravel(), (words >> 8).astype("f4") * np.float32(2**-24))


def test_uniform_float64_has_53_bits_of_two_words():
    words = [int(w) for w in philox.words(np, 20, 3, 4)]
    u = philox.uniform(np, (10,), F64, 3, 4)
    expected = [((words[2 * i] >> 5) * 2**26 + (words[2 * i + 1] >> 6)) / 2**53 for i in range(10)]
    assert u.tolist() == expected


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_uniform_stays_below_one(name, monkeypatch):
    monkeypatch.setattr(philox, "words", lambda xp, n, *_: xp.full(n, 0xFFFFFFFF, dtype=xp.uint32))
    dtype = ge.rand(1, dtype=name).dtype
    top = philox.uniform(np, (4,), dtype, 0, 0)
    assert top.dtype == dtype
    assert (top.astype("f8") < 1).all()
    assert (top.astype("f8") > 0.99).all()


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_distributions(name):
    ge.manual_seed(1)
    n = 200_000
    u = ge.rand(n, dtype=name).numpy().astype("f8")
    z = ge.randn(n, dtype=name).numpy().astype("f8")
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n) + 2**-11
    assert abs(u.var() - 1 / 12) < 1e-3
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs(z.var() - 1) < 0.02
    assert abs((z**3).mean()) < 0.05
    assert abs((z**4).mean() - 3) < 0.1
    assert abs((z[::2] * z[1::2]).mean()) < 0.01  # the two of a pair are independent


def test_uniform_counts_are_even():
    counts = np.bincount((philox.uniform(np, (160_000,), F32, 9, 9) * 16).astype(int))
    chi2 = ((counts - 10_000) ** 2 / 10_000).sum()
    assert counts.size == 16
    assert chi2 < 37.7  # 15 degrees of freedom, p = 0.001


def test_normal_is_finite_where_the_uniform_is_zero_or_highest(monkeypatch):
    for word in (0, 0xFFFFFFFF):
        monkeypatch.setattr(
            philox, "words", lambda xp, n, *_, w=word: xp.full(n, w, dtype=xp.uint32)
        )
        for dtype in (F32, F64):
            assert np.isfinite(philox.normal(np, (3,), dtype, 0, 0)).all()


def test_randint_covers_its_range_evenly():
    ge.manual_seed(0)
    x = ge.random.randint(-3, 4, (70_000,))
    counts = np.bincount(x.numpy() + 3)
    assert x.dtype == np.int64
    assert counts.size == 7
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 22.5  # 6 degrees, p = 0.001


def test_randint_is_the_product_of_64_bits():
    high, low = philox.words(np, 2, 1, 2).tolist()
    for span in (1, 7, 2**32, 2**40 + 3, 2**63):
        (found,) = philox.integers(np, (1,), 0, span, 1, 2).tolist()
        assert found == ((high << 32 | low) * span) >> 64


@pytest.mark.parametrize(
    ("args", "options", "kind"),
    [
        ((5, 5), {}, ge.OutOfRangeError),
        ((300,), {"dtype": "int8"}, ge.DTypeError),
        ((5,), {"dtype": "float32"}, ge.DTypeError),
        ((-1, 5), {"dtype": "uint8"}, ge.DTypeError),
    ],
)
def test_randint_refuses(args, options, kind):
    with pytest.raises(kind, match="randint"):
        ge.random.randint(*args, **options)


def test_randperm_and_permutation():
    ge.manual_seed(3)
    assert sorted(ge.randperm(1000).tolist()) == list(range(1000))
    assert ge.randperm(1000).tolist() != ge.randperm(1000).tolist()
    assert ge.randperm(0).shape == (0,)
    first = np.bincount([ge.randperm(4)[0].item() for _ in range(800)])
    assert ((first - 200) ** 2 / 200).sum() < 16.3  # 3 degrees, p = 0.001
    x = ge.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    y = ge.random.permutation(x)
    assert sorted(y.tolist()) == x.tolist()
    (y * y).sum().backward()
    assert np.array_equal(x.grad.numpy(), 2 * x.detach().numpy())


def test_bernoulli():
    ge.manual_seed(0)
    assert abs(ge.bernoulli(0.3, (100_000,)).mean().item() - 0.3) < 0.01
    p = ge.tensor([0.0, 1.0])
    assert ge.bernoulli(p).tolist() == [0.0, 1.0]
    assert ge.bernoulli(0.5, (3,), dtype="bool").dtype == np.bool_
    with pytest.raises(ge.OutOfRangeError, match=r"\[0, 1\]"):
        ge.bernoulli(1.5, (3,))
    with pytest.raises(ge.OutOfRangeError, match=r"\[0, 1\]"):
        ge.bernoulli(ge.tensor([0.5, -0.1]))


def test_affine_forms_keep_the_dtype():
    for name in ("float16", "float32", "float64"):
        assert ge.random.uniform(-2, 3, (5,), dtype=name).dtype == name
        assert ge.random.normal(1, 2, (5,), dtype=name).dtype == name
    x = ge.random.uniform(-2, 3, (10_000,)).numpy()
    assert -2 <= x.min() < -1.9
    assert 2.9 < x.max() < 3
    like = ge.zeros((2, 3), dtype="float64")
    assert ge.rand_like(like).dtype == np.float64
    assert ge.randn_like(like).shape == (2, 3)


def test_integer_dtypes_and_negative_std_are_refused():
    with pytest.raises(ge.DTypeError, match="randint"):
        ge.rand(3, dtype="int32")
    with pytest.raises(ge.OutOfRangeError, match="std"):
        ge.random.normal(0, -1, (2,))


# --- the generator ---


def test_same_seed_same_numbers_and_every_call_new_ones():
    a = [ge.rand(5, generator=g).tolist() for g in (ge.Generator(1), ge.Generator(1))]
    assert a[0] == a[1]
    g = ge.Generator(1)
    assert ge.rand(5, generator=g).tolist() != ge.rand(5, generator=g).tolist()
    assert ge.rand(5, generator=ge.Generator(2)).tolist() != a[0]


def test_manual_seed_and_state():
    ge.manual_seed(7)
    first = ge.rand(3).tolist()
    state = ge.random.get_state()
    second = ge.rand(3).tolist()
    assert state == (7, 1)
    ge.random.set_state([7, 1])
    assert ge.rand(3).tolist() == second
    ge.manual_seed(7)
    assert ge.rand(3).tolist() == first
    assert ge.random.seed() != ge.random.seed()


def test_negative_and_wrong_seeds():
    assert ge.Generator(-1).initial_seed == 2**64 - 1
    with pytest.raises(ge.OutOfRangeError, match="64 bits"):
        ge.Generator(2**64)
    with pytest.raises(ge.DTypeError, match="integer"):
        ge.manual_seed(1.5)


def test_unseeded_generators_differ_and_keep_their_seed():
    a, b = ge.Generator(), ge.Generator()
    assert a.initial_seed != b.initial_seed
    assert a.get_state() == a.get_state()


def test_no_offset_is_given_twice_between_threads():
    g = ge.Generator(0)
    taken: list[int] = []

    def work():
        mine = [g.take().offset for _ in range(2000)]
        taken.extend(mine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == list(range(16_000))


def test_default_device_and_dtype_do_not_depend_on_each_other():
    assert ge.rand(2, 3).shape == (2, 3)
    assert ge.rand((2, 3)).shape == (2, 3)
    assert ge.rand().shape == ()
    assert ge.rand(2, requires_grad=True).requires_grad
    assert ge.rand(2).dtype == np.float32


def test_a_million_uniforms_take_well_under_a_tenth_of_a_second():
    best = min(_seconds(lambda: ge.rand(1_000_000)) for _ in range(5))
    assert best < 0.1


def _seconds(f):
    start = time.process_time()
    f()
    return time.process_time() - start


# --- dropout ---


def test_dropout_keeps_the_expected_value_and_scales():
    x = ge.ones(100_000)
    y = ge.dropout(x, 0.25, generator=ge.Generator(0)).numpy()
    assert set(np.unique(y).tolist()) == {0.0, np.float32(1 / 0.75).item()}
    assert abs(y.mean() - 1) < 0.01


def test_dropout_mask_follows_the_contract():
    x = ge.ones(64)
    y = ge.dropout(x, 0.5, generator=ge.Generator(11))
    keep = philox.uniform(np, (64,), F32, 11, 0) >= 0.5
    assert np.array_equal(y.numpy() != 0, keep)


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.1, 0.3, 0.5, 1 / 3, 0.999, 1 - 2**-24, 1 - 2**-30, 1.0])
def test_mask_is_the_comparison_of_the_uniform(p, monkeypatch):
    u = philox.uniform(np, (5000,), F32, 2, 3)
    assert np.array_equal(philox.keep_mask(np, (5000,), p, 2, 3), u >= np.float32(p))
    for edge in (math.floor(p * 2**24), math.ceil(p * 2**24)):
        word = min(edge << 8, 0xFFFFFFFF)
        monkeypatch.setattr(philox, "words", lambda xp, n, *_, w=word: xp.full(n, w, xp.uint32))
        u = philox.uniform(np, (1,), F32, 0, 0)
        assert philox.keep_mask(np, (1,), p, 0, 0) == (u >= np.float32(p))
        monkeypatch.undo()


def test_dropout_in_evaluation_and_at_the_ends():
    x = ge.tensor([1.0, np.inf, 3.0])
    assert ge.dropout(x, 0.5, training=False) is x
    assert ge.dropout(x, 0.0) is x
    assert ge.dropout(x, 1.0).tolist() == [0.0, 0.0, 0.0]
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ge.OutOfRangeError, match="probability"):
            ge.dropout(x, p)


def test_dropout_backward_draws_the_same_mask_and_stores_none():
    x = ge.ones((50, 40), requires_grad=True)
    y = ge.dropout(x, 0.3)
    assert [s for s in y.grad_fn.saved if hasattr(s, "shape")] == []
    ge.rand(10)  # a later draw changes nothing
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), y.detach().numpy())


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_dropout_keeps_the_dtype(name):
    x = ge.ones(8, dtype=name, requires_grad=True)
    y = ge.dropout(x, 0.5)
    y.sum().backward()
    assert y.dtype == name
    assert x.grad.dtype == name


def test_dropout_is_linear_and_passes_check_grads():
    ge.testing.check_grads(
        lambda x: dropout_(x, p=0.4, seed=1, offset=2), (ge.rand(4, 3, dtype="float64"),), order=2
    )


def test_dropout_of_nothing():
    assert ge.dropout(ge.zeros((0, 3))).shape == (0, 3)


@pytest.mark.gpu
def test_the_gpu_draws_the_same_numbers():
    for dtype in ("float16", "float32", "float64"):
        a = ge.rand(1001, dtype=dtype, generator=ge.Generator(5), device="cpu")
        b = ge.rand(1001, dtype=dtype, generator=ge.Generator(5), device="cuda")
        assert np.array_equal(a.numpy(), b.numpy())
    a = ge.random.randint(0, 1000, (999,), generator=ge.Generator(5), device="cpu")
    b = ge.random.randint(0, 1000, (999,), generator=ge.Generator(5), device="cuda")
    assert np.array_equal(a.numpy(), b.numpy())
    a = ge.randperm(999, generator=ge.Generator(5), device="cpu")
    b = ge.randperm(999, generator=ge.Generator(5), device="cuda")
    assert np.array_equal(a.numpy(), b.numpy())
    a = ge.randn(999, generator=ge.Generator(5), device="cpu")
    b = ge.randn(999, generator=ge.Generator(5), device="cuda")
    assert np.allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    x = ge.ones(999)
    a = ge.dropout(x, 0.5, generator=ge.Generator(5))
    b = ge.dropout(x.cuda(), 0.5, generator=ge.Generator(5))
    assert np.array_equal(a.numpy(), b.numpy())
