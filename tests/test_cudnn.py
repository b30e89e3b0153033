"""Convolution and attention through cuDNN: what is described, computed by a double of the package.

The double reads raw memory by sizes and strides alone, so a wrong description gives wrong numbers
here. Where the package itself is installed the same descriptions are handed to it; without a
driver it takes them as far as it validates them.
"""

from __future__ import annotations

import threading

import ml_dtypes
import numpy as np
import pytest
from kernel_run import needs_emulator

import gradengine as ge
from gradengine.cuda import convolution, cudnn, gemm, kernels
from gradengine.cuda.cudnn import Cudnn, Graph, Tensor
from gradengine.cuda.cudnn_host import HostCudnn
from gradengine.cuda.standin import standin
from gradengine.nn import functional as F

pytestmark = needs_emulator

DTYPES = {
    "float32": np.dtype("float32"),
    "float16": np.dtype("float16"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
TOLERANCE = {"float32": 3e-5, "float16": 4e-3, "bfloat16": 4e-2}
HALVES = ["float16", "bfloat16"]


@pytest.fixture(name="host")
def the_double():
    module = HostCudnn()
    with standin(), cudnn.using(Cudnn(module)):
        yield module


def drawn(*shapes, dtype="float32", seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=s).astype(DTYPES[dtype]) for s in shapes]


def wide(x):
    return x.detach().cpu().numpy().astype("float64")


def agree(found, expected, dtype):
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        a, b = wide(a), wide(b)
        assert a.shape == b.shape
        scale = max(1.0, np.abs(b).max(initial=0.0))
        assert np.isfinite(a).all()
        assert np.abs(a - b).max(initial=0.0) <= TOLERANCE[dtype] * scale


def on(device, arrays):
    return [ge.tensor(x, device=device, requires_grad=True) for x in arrays]


def both_ways(function, given):
    """[y and the gradients], with a cotangent that differs from place to place."""
    y = function(*given)
    seed = np.random.default_rng(9).normal(size=y.shape).astype(y.dtype)
    y.backward(ge.tensor(seed, device=y.device))
    return [y, *(x.grad for x in given)]


def compare(function, arrays, dtype):
    """The device against the CPU; what was launched."""
    with kernels.launched() as trace:
        found = both_ways(function, on("cuda", arrays))
    agree(found, both_ways(function, on("cpu", arrays)), dtype)
    return trace


# --- convolution ---------------------------------------------------------------------------------

CONVOLUTIONS = {
    "1-D": ((2, 3, 9), (4, 3, 3), {}),
    "1-D, strided, padded": ((2, 3, 9), (4, 3, 3), {"stride": 2, "padding": 2}),
    "2-D": ((2, 3, 6, 5), (4, 3, 3, 2), {}),
    "2-D, all different": (
        (2, 3, 11, 9),
        (4, 3, 3, 2),
        {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 2)},
    ),
    "2-D, groups": ((2, 4, 6, 5), (6, 2, 2, 3), {"groups": 2, "padding": (0, 1)}),
    "2-D, one channel a group": ((2, 4, 6, 5), (8, 1, 3, 3), {"groups": 4}),
    "2-D, one tap": ((2, 3, 4, 5), (4, 3, 1, 1), {}),
    "2-D, windows that miss the end": ((1, 2, 8, 7), (2, 2, 3, 3), {"stride": 3}),
    "3-D": ((2, 2, 4, 5, 3), (3, 2, 2, 3, 1), {"stride": (1, 2, 1), "padding": (1, 0, 2)}),
    "same, even kernel": ((2, 3, 6, 5), (4, 3, 2, 4), {"padding": "same"}),
    "one image": ((1, 1, 3, 3), (1, 1, 3, 3), {}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(host, name, dtype):
    x, w, options = CONVOLUTIONS[name]
    function = getattr(F, f"conv{len(x) - 2}d")
    arrays = drawn(x, w, dtype=dtype)
    trace = compare(lambda a, b: function(a, b, **options), arrays, dtype)
    assert host.ran == ["conv_fprop", "conv_dgrad", "conv_wgrad"]
    ours = [n for n in trace.kernels if n.startswith("cudnn")]
    assert ours == [f"cudnn::convolution{n}" for n in ("", "_input", "_weight")]
    assert trace.formulas == []
    if "same" not in name:  # arrays are described as they lie: no kernel of ours copies one
        assert trace.kernels == ours


@pytest.mark.parametrize("n", [1, 2, 3])
def test_transposed_convolutions(host, n):
    function = getattr(F, f"conv_transpose{n}d")
    arrays = drawn((2, 4, 5, 4, 3)[: n + 2], (4, 3, 3, 2, 3)[: n + 2])
    options = {"stride": 2, "padding": 1, "output_padding": 1}
    trace = compare(lambda a, b: function(a, b, **options), arrays, "float32")
    assert host.ran == ["conv_dgrad", "conv_fprop", "conv_wgrad"]
    assert trace.formulas == []


def test_images_stored_with_channels_last_are_described_not_copied(host):
    x, w = drawn((2, 6, 5, 4), (3, 3, 2, 4))  # (N, H, W, C), (O, kH, kW, C/groups)

    def function(a, b):
        return F.conv2d(ge.permute_dims(a, (0, 3, 1, 2)), ge.permute_dims(b, (0, 3, 1, 2)))

    with kernels.launched() as trace:
        y = function(*(ge.tensor(v, device="cuda") for v in (x, w)))
    assert trace.kernels == ["cudnn::convolution"]
    image, kernel = host.graphs[-1].given.values()
    assert image.stride == [120, 1, 20, 4]
    assert kernel.stride == [24, 1, 8, 4]
    agree([y], [function(*map(ge.tensor, (x, w)))], "float32")


@pytest.mark.parametrize(("shape", "last"), [((2, 4, 1, 5), False), ((2, 1, 5, 4), True)])
def test_axes_of_one_keep_the_layout_of_the_others(host, shape, last):
    x = drawn(shape)[0]
    x = x.transpose(0, 3, 1, 2) if last else x
    described = cudnn._tensor("x", ge.tensor(x, device="cuda").array if not last else moved(x))
    _, c, h, w = x.shape
    expected = (h * w * c, 1, w * c, c) if last else (c * h * w, h * w, w, 1)
    assert described.stride == expected


def moved(x):
    """x on the device, its strides kept."""
    import cupy

    return cupy.asarray(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose((0, 3, 1, 2))


def test_other_layouts_are_copied_first(host):
    x, w = drawn((5, 3, 2, 6), (4, 3, 2, 2))
    function = lambda a, b: F.conv2d(ge.permute_dims(a, (2, 1, 3, 0)), b)  # noqa: E731
    trace = compare(function, [x, w], "float32")
    assert len(trace.kernels) > 3
    assert trace.formulas == []


@pytest.mark.parametrize("padding", [((2, 0), (0, 1)), ((0, 3), (1, 1)), ((1, -1), (0, 0))])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_padding_that_differs_at_the_ends(host, padding, stride):
    def function(a, b):
        return ge.ops.convolution(a, b, stride, padding, (1, 1), 1)

    arrays = drawn((2, 3, 7, 6), (4, 3, 3, 2))
    cut = padding[0][1] < 0 and stride[0] == 1
    trace = compare(function, arrays, "float32")
    # fewer windows than fit are not cuDNN's to say
    assert (trace.formulas != []) == cut
    assert ("conv_dgrad" in host.ran) != cut


def test_second_derivatives_of_a_convolution(host):
    arrays = drawn((2, 4, 6, 5), (6, 2, 3, 2))
    found = []
    for device in ("cuda", "cpu"):
        x, w = on(device, arrays)
        y = F.conv2d(x, w, padding=1, stride=2, groups=2)
        grads = ge.autograd.grad((y**3).sum(), [x, w], create_graph=True)
        total = (grads[0] ** 2).sum() + (grads[1] ** 2).sum()
        found.append(ge.autograd.grad(total, [x, w]))
    agree(*found, "float32")
    assert len(host.ran) > 6


@pytest.mark.parametrize(
    ("precision", "barred"),
    [("highest", ["DOWN_CONVERT_INPUTS", "TENSOR_CORE"]), ("high", ["DOWN_CONVERT_INPUTS"])],
)
def test_float32_is_float32_unless_allowed(host, precision, barred):
    x, w = (ge.tensor(v, device="cuda") for v in drawn((1, 2, 4, 4), (2, 2, 3, 3)))
    with gemm.float32_matmul_precision(precision):
        F.conv2d(x, w)
    assert host.graphs[-1].barred == barred
    F.conv2d(x.astype("float16"), w.astype("float16"))
    assert host.graphs[-1].barred == ["REDUCED_PRECISION_REDUCTION"]


def test_float64_and_mixed_dtypes_take_the_formula(host):
    arrays = [x.astype("float64") for x in drawn((1, 2, 4, 4), (2, 2, 3, 3))]
    with kernels.launched() as trace:
        found = both_ways(F.conv2d, on("cuda", arrays))
    assert host.ran == []
    assert trace.formulas[0] == "convolution"
    expected = both_ways(F.conv2d, on("cpu", arrays))
    assert all(np.allclose(wide(a), wide(b)) for a, b in zip(found, expected, strict=True))
    x, w = arrays[0], arrays[1].astype("float32")
    y = F.conv2d(*(ge.tensor(v, device="cuda") for v in (x, w)))
    assert (y.dtype, host.ran) == ("float64", [])


def test_wrong_sizes_are_the_formulas_to_name(host):
    x, w = (ge.tensor(v, device="cuda") for v in drawn((1, 3, 4, 4), (2, 2, 3, 3)))
    with pytest.raises(ge.ShapeError, match="expects 2 channels, the input has 3"):
        F.conv2d(x, w)
    with pytest.raises(ge.ShapeError, match="does not fit"):
        F.conv2d(x[:, :2, :2], w)
    assert F.conv2d(x[:0, :2], w).shape == (0, 2, 2, 2)
    assert host.ran == []


# --- plans ---------------------------------------------------------------------------------------


def test_a_plan_is_built_once_for_what_it_depends_on(host):
    x, w = (ge.tensor(v, device="cuda") for v in drawn((2, 2, 5, 5), (3, 2, 3, 3)))
    for _ in range(3):
        F.conv2d(x, w)
    assert (len(host.ran), host.built) == (3, 1)
    F.conv2d(x, w, padding=1)
    F.conv2d(x[:1], w)
    F.conv2d(x.astype("float16"), w.astype("float16"))
    assert host.built == 4
    F.conv2d(x[1:], w)  # other memory, the same plan
    assert host.built == 4


def test_every_thread_has_a_handle_and_plans(host):
    x, w = (ge.tensor(v, device="cuda") for v in drawn((2, 2, 5, 5), (3, 2, 3, 3)))
    F.conv2d(x, w)
    other = threading.Thread(target=lambda: F.conv2d(x, w))
    other.start()
    other.join()
    assert (len(host.streams), host.built, len(host.ran)) == (2, 2, 2)


def test_it_runs_on_the_stream_that_is_current(host):
    import cupy

    x, w = (ge.tensor(v, device="cuda") for v in drawn((2, 2, 5, 5), (3, 2, 3, 3)))
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        F.conv2d(x, w)
    assert [*host.streams.values()] == [stream.ptr]


@pytest.mark.parametrize("method", ["conv_fprop", "conv_dgrad", "conv_wgrad"])
def test_a_graph_without_a_plan_is_the_formulas(method):
    module = HostCudnn(refuses=[method])
    library = Cudnn(module)
    with standin(), cudnn.using(library):
        for _ in range(2):
            trace = compare(F.conv2d, drawn((2, 2, 5, 5), (3, 2, 3, 3)), "float32")
            assert len(trace.formulas) == 1
        assert method not in module.ran
        assert len(module.graphs) == 3  # asked once, refused from then on
    (reason,) = library.refused.values()
    assert "No execution plans support the graph" in reason


def test_without_the_package_all_is_the_formulas():
    with standin(), cudnn.using(None):
        trace = compare(F.conv2d, drawn((2, 2, 5, 5), (3, 2, 3, 3)), "float32")
        assert trace.formulas == ["convolution", "convolution_input", "convolution_weight"]
        assert not cudnn.installed()


def test_a_package_that_finds_no_library_is_a_missing_one(monkeypatch):
    class Lost(HostCudnn):
        def backend_version(self):
            raise RuntimeError("cudnn.so not found")

    with cudnn.using(None):
        monkeypatch.setattr(cudnn, "_missing", False)
        monkeypatch.setattr(cudnn.importlib, "import_module", lambda _: Lost())
        assert cudnn.in_use() is None


def test_errors_of_a_launch_are_not_swallowed(host, monkeypatch):
    from gradengine.cuda.cudnn_host import HostGraph

    def fail(*_args, **_kwargs):
        raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")

    monkeypatch.setattr(HostGraph, "execute", fail)
    x, w = (ge.tensor(v, device="cuda") for v in drawn((2, 2, 5, 5), (3, 2, 3, 3)))
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        F.conv2d(x, w)


def test_the_double_notices_wrong_descriptions(host, monkeypatch):
    """Swapped paddings and strides show: the tests above can fail."""
    arrays = drawn((2, 3, 7, 7), (4, 3, 2, 2))
    options = {
        "padding": (1, 2),
        "dilation": (1, 3),
    }  # turned around, the result's size is the same
    expected = F.conv2d(*on("cpu", arrays), **options)
    agree([F.conv2d(*on("cuda", arrays), **options)], [expected], "float32")
    honest = convolution._options

    def swapped(stride, windows, dilation):
        return {k: v[::-1] for k, v in honest(stride, windows, dilation).items()}

    monkeypatch.setattr(convolution, "_options", swapped)
    found = F.conv2d(*on("cuda", arrays), **options)
    assert host.ran == ["conv_fprop"] * 2
    assert not np.allclose(wide(found), wide(expected), atol=0.1)


@pytest.mark.parametrize("role", ["q", "k", "v"])
def test_the_double_notices_wrong_strides(host, monkeypatch, role):
    honest = cudnn._tensor

    def wrong(name, x):
        found = honest(name, x)
        if name != role:
            return found
        _, h, n, d = found.dim
        return found._replace(stride=(h * n * d, d, h * d, 1))  # as if heads stood inside

    arrays = drawn(*QKV, dtype="float16")
    expected = F.scaled_dot_product_attention(*on("cpu", arrays))
    monkeypatch.setattr(cudnn, "_tensor", wrong)
    found = F.scaled_dot_product_attention(*on("cuda", arrays))
    assert host.ran == ["sdpa"]
    assert not np.allclose(wide(found), wide(expected), atol=0.1)


# --- attention -----------------------------------------------------------------------------------

QKV = ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 16))


def masks(dtype):
    random = np.random.default_rng(3)
    part = random.random((2, 3, 5, 7)) > 0.4
    part[0, 1, 2] = False  # a row that no key takes part in
    minus = np.where(part, random.normal(size=part.shape), -np.inf).astype(DTYPES[dtype])
    return {
        "bool, all": part,
        "bool, queries and keys": part[0, 1],
        "bool, keys of a batch": part[:, :1, 2:3],
        "bool, heads": part[:1],
        "numbers": minus,
        "numbers, one for all": minus[1, 2],
        "one for all keys": part[..., :1],
    }


def attention_trace(function, arrays, dtype):
    trace = compare(function, arrays, dtype)
    assert trace.formulas == []
    assert [n for n in trace.kernels if "cudnn" in n] == [
        "cudnn::attention",
        "cudnn::attention_back",
    ]
    return trace


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": -0.7}], ids=str)
def test_attention(host, dtype, options):
    def function(*qkv):
        return F.scaled_dot_product_attention(*qkv, **options)

    trace = attention_trace(function, drawn(*QKV, dtype=dtype), dtype)
    assert len(trace.kernels) == 2


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", masks("float16"))
def test_masks_are_biases(host, dtype, name):
    mask = masks(dtype)[name]

    def function(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, ge.tensor(mask, device=q.device))

    attention_trace(function, drawn(*QKV, dtype=dtype), dtype)


@pytest.mark.parametrize("lead", [(), (3,), (2, 2, 3)], ids=str)
def test_any_number_of_leading_axes(host, lead):
    arrays = drawn(*((*lead, *s[-2:]) for s in QKV), dtype="float16")
    attention_trace(F.scaled_dot_product_attention, arrays, "float16")
    part = np.random.default_rng(3).random((*lead[-1:], 5, 7)) > 0.3
    if len(lead) > 2:
        part = part[:, :1]

    def masked(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, ge.tensor(part, device=q.device))

    attention_trace(masked, arrays, "float16")


@pytest.mark.parametrize("causal", [False, True])
def test_heads_that_share_keys(host, causal):
    arrays = drawn((2, 6, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8), dtype="float16")

    def function(*qkv):
        return F.scaled_dot_product_attention(*qkv, is_causal=causal, enable_gqa=True)

    attention_trace(function, arrays, "float16")
    assert host.graphs[0].given["k"].dim == [2, 3, 7, 8]  # not repeated


def test_heads_between_lengths_and_features_are_described_not_copied(host):
    arrays = drawn((2, 5, 3, 8), (2, 7, 3, 8), (2, 7, 3, 16), dtype="float16")

    def function(*qkv):
        y = F.scaled_dot_product_attention(*(ge.swapaxes(x, 1, 2) for x in qkv))
        return ge.swapaxes(y, 1, 2).reshape((2, 5, 48))

    trace = attention_trace(function, arrays, "float16")
    assert len(trace.kernels) == 2  # nor is the result, which is stored in its order
    assert host.graphs[0].given["q"].stride == [120, 8, 24, 1]
    assert host.graphs[0].made["y"].stride == [240, 16, 48, 1]


def test_a_cache_of_keys_aligns_the_diagonal_with_the_last(host):
    arrays = drawn(*QKV, dtype="float16")

    def function(*qkv):
        return ge.ops.attention(*qkv, None, stats_of(qkv[0]), scale=0.5, causal=True, first=2)

    attention_trace(function, arrays, "float16")
    assert host.graphs[0].options["mask"][1] == "BOTTOM_RIGHT"


def stats_of(q):
    from gradengine.ops.attention import fuses, row_room

    return row_room(q) if q.device != "cpu" and fuses(q, q, q) else None


def test_second_derivatives_of_attention(host):
    arrays = drawn(*QKV, dtype="float16")
    found = []
    for device in ("cuda", "cpu"):
        given = on(device, arrays)
        y = F.scaled_dot_product_attention(*given, is_causal=True)
        grads = ge.autograd.grad((y * y).sum(), given, create_graph=True)
        total = sum(((g * g).sum() for g in grads[1:]), (grads[0] ** 2).sum())
        found.append(ge.autograd.grad(total, given))
    assert host.ran[0] == "sdpa"
    for a, b in zip(*found, strict=True):
        assert np.abs(wide(a) - wide(b)).max() <= 2e-2 * max(1, np.abs(wide(b)).max())


def test_nothing_is_kept_where_nothing_is_recorded(host):
    q, k, v = (ge.tensor(x, device="cuda") for x in drawn(*QKV, dtype="float16"))
    with ge.no_grad():
        F.scaled_dot_product_attention(q, k, v)
    assert [*host.graphs[0].made] == ["y"]


def test_backward_twice_and_only_what_is_needed(host):
    q, k, v = drawn(*QKV, dtype="float16")
    x = ge.tensor(q, device="cuda", requires_grad=True)
    y = F.scaled_dot_product_attention(x, ge.tensor(k, device="cuda"), ge.tensor(v, device="cuda"))
    y.sum().backward(retain_graph=True)
    first = wide(x.grad)
    y.sum().backward()
    assert np.allclose(wide(x.grad), 2 * first, atol=1e-2)
    assert host.ran == ["sdpa", "sdpa_backward", "sdpa_backward"]


@pytest.mark.parametrize(
    ("shapes", "dtype", "options"),
    [
        (QKV, "float32", {}),
        (((2, 5, 6), (2, 7, 6), (2, 7, 8)), "float16", {}),
        (((2, 3, 5, 8), (1, 3, 7, 8), (2, 3, 7, 8)), "float16", {}),
        (((0, 5, 8), (0, 7, 8), (0, 7, 8)), "float16", {}),
    ],
    ids=["float32", "features", "broadcast", "empty"],
)
def test_what_cudnn_does_not_attend_to_takes_the_own_way(host, shapes, dtype, options):
    compare(F.scaled_dot_product_attention, drawn(*shapes, dtype=dtype), dtype)
    assert host.ran == []


def test_a_mask_that_learns_takes_the_own_way_back(host):
    arrays = [*drawn(*QKV, dtype="float16"), *drawn((5, 7), dtype="float16", seed=4)]
    trace = compare(F.scaled_dot_product_attention, arrays, "float16")
    assert host.ran == ["sdpa"]
    assert "attention vjp" in trace.formulas


@pytest.mark.parametrize("method", ["sdpa", "sdpa_backward"])
def test_attention_without_a_plan_is_the_formulas(method):
    """What the forward did not keep the way back does not read."""
    module = HostCudnn(refuses=[method])
    with standin(), cudnn.using(Cudnn(module)):
        trace = compare(F.scaled_dot_product_attention, drawn(*QKV, dtype="float16"), "float16")
        assert module.ran == (["sdpa"] if method == "sdpa_backward" else [])
        assert "attention vjp" in trace.formulas


def test_attention_without_the_package_keeps_its_weights():
    with standin():
        trace = compare(F.scaled_dot_product_attention, drawn(*QKV, dtype="float16"), "float16")
    assert not any("cudnn" in name for name in trace.kernels)


def test_autocast_leaves_the_room_alone(host):
    arrays = drawn(*QKV, dtype="float16")
    with ge.amp.autocast("float16"):
        found = both_ways(F.scaled_dot_product_attention, on("cuda", arrays))
    agree(found, both_ways(F.scaled_dot_product_attention, on("cpu", arrays)), "float16")
    assert host.ran == ["sdpa", "sdpa_backward"]


# --- the package itself --------------------------------------------------------------------------


def tensor(role, *dim, dtype="float16"):
    stride = [1]
    for n in reversed(dim[1:]):
        stride.insert(0, stride[0] * n)
    return Tensor(role, dim, tuple(stride), dtype)


def graphs():
    slide = (("padding", (1, 0)), ("stride", (2, 1)), ("dilation", (1, 2)))
    image, kernel, result = (2, 4, 7, 6), (6, 2, 3, 2), (2, 6, 4, 4)
    x, w, g = tensor("x", *image), tensor("w", *kernel), tensor("g", *result)
    q, k, v, o, stats = (2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 16), (2, 4, 5, 16), (2, 4, 5, 1)
    heads = (tensor("q", *q), tensor("k", *k), tensor("v", *v))
    bias, row = tensor("bias", 1, 1, 5, 7), tensor("stats", *stats, dtype="float32")
    mask = (("scale", 0.5), ("causal", "last"))
    made = (tensor("dq", *q), tensor("dk", *k), tensor("dv", *v))
    first = (("scale", 0.5), ("causal", "first"), ("stats", False))
    back = (*heads, bias, tensor("y", *o), tensor("g", *o), row)
    return [
        Graph("convolution", (x, w), (tensor("y", *result),), slide, ()),
        Graph("convolution_input", (g, w), (tensor("dx", *image),), slide, ()),
        Graph("convolution_weight", (x, g), (tensor("dw", *kernel),), slide, ()),
        Graph("attention", (*heads, bias), (tensor("y", *o), row), (*mask, ("stats", True)), ()),
        Graph("attention", heads, (tensor("y", *o),), first, ()),
        Graph("attention_back", back, made, mask, ()),
    ]


@pytest.mark.parametrize("graph", graphs(), ids=lambda g: g.kind)
def test_the_package_takes_the_descriptions(graph):
    pytest.importorskip("cudnn", reason="nvidia-cudnn-frontend is not installed")
    try:
        library = Cudnn()
    except (RuntimeError, OSError) as error:
        pytest.skip(f"no cuDNN: {error}")
    made = library.described(graph, None)
    if not graph.kind.startswith("attention"):  # those ask for the device when they are validated
        made.validate()
    assert all(
        hasattr(made, step)
        for step in ("build_operation_graph", "create_execution_plans", "check_support", "execute")
    )
    for name in ("DOWN_CONVERT_INPUTS", "TENSOR_CORE", "REDUCED_PRECISION_REDUCTION"):
        assert hasattr(library.module.numerical_note, name)
