"""A double of the package `cudnn`, in NumPy over raw host memory: the stand-in device's library.

It takes the calls that cudnn.py makes, in the order in which the package wants them and with its
keywords, and computes what the graph describes from sizes and strides alone, by the definition of
each operation: a wrong description gives wrong numbers. It refuses what the package refuses.

Floor 1: imports nothing of gradengine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from types import SimpleNamespace
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

__all__ = ["HostCudnn", "NotSupported"]

Array: TypeAlias = Any
DTYPES = {
    "HALF": np.dtype("float16"),
    "BFLOAT16": np.dtype(getattr(ml_dtypes, "bfloat16")),  # noqa: B009
    "FLOAT": np.dtype("float32"),
}


class NotSupported(Exception):
    """No plan computes the graph."""


class HostCudnn:
    """The module: `ran` lists what was executed, by the method that said it.

    `refuses` names methods that no plan is found for. `built` counts plans.
    """

    data_type = SimpleNamespace(**DTYPES)
    heur_mode = SimpleNamespace(A="A", FALLBACK="FALLBACK")
    diagonal_alignment = SimpleNamespace(TOP_LEFT="TOP_LEFT", BOTTOM_RIGHT="BOTTOM_RIGHT")
    numerical_note = SimpleNamespace(
        **{n: n for n in ("TENSOR_CORE", "DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION")}
    )
    cudnnGraphNotSupportedError = NotSupported

    def __init__(self, refuses: Sequence[str] = ()) -> None:
        self.refuses, self.built = refuses, 0
        self.ran: list[str] = []
        self.graphs: list[HostGraph] = []
        self.streams: dict[int, int] = {}

    def backend_version(self) -> int:
        return 92800

    def create_handle(self) -> int:
        handle = len(self.streams) + 1
        self.streams[handle] = 0
        return handle

    def set_stream(self, handle: int, stream: int) -> None:
        self.streams[handle] = stream

    def pygraph(
        self,
        name: str = "test_graph",
        io_data_type: Any = None,
        intermediate_data_type: Any = None,
        compute_data_type: Any = None,
        handle: int | None = None,
    ) -> HostGraph:
        if {intermediate_data_type, compute_data_type} != {DTYPES["FLOAT"]}:
            raise NotSupported("only sums in float32 are asked for here")
        return HostGraph(self, name, io_data_type, handle)


# --- tensors -------------------------------------------------------------------------------------


class HostTensor:
    """A tensor of a graph: what cuDNN knows about it."""

    def __init__(self, uid: int = -1, virtual: bool = True) -> None:
        self.uid, self.virtual = uid, virtual
        self.dim: list[int] = []
        self.stride: list[int] = []
        self.dtype: Any = None

    def set_output(self, value: bool) -> HostTensor:
        self.virtual = not value
        return self

    def set_uid(self, uid: int) -> HostTensor:
        self.uid = uid
        return self

    def set_data_type(self, data_type: Any) -> HostTensor:
        self.dtype = data_type
        return self

    def set_dim(self, dim: list[int]) -> HostTensor:
        self.dim = _numbers(dim)
        return self

    def set_stride(self, stride: list[int]) -> HostTensor:
        self.stride = _numbers(stride)
        return self

    def memory(self, address: int) -> Array:
        """The array at an address."""
        size = self.dtype.itemsize
        last = sum((n - 1) * s for n, s in zip(self.dim, self.stride, strict=True))
        raw: Any = (ctypes.c_ubyte * ((last + 1) * size)).from_address(address)
        flat = np.frombuffer(raw, np.uint8).view(self.dtype)
        steps = [s * size for s in self.stride]
        return np.lib.stride_tricks.as_strided(flat, self.dim, steps)


def _numbers(values: list[int]) -> list[int]:
    if not all(type(v) is int and v > 0 for v in values):
        raise NotSupported(f"{values} are no sizes or strides")
    return [*values]


# --- graphs --------------------------------------------------------------------------------------

STEPS = (
    *("validate", "build_operation_graph", "create_execution_plans", "deselect_numeric_notes"),
    *("check_support", "build_plans"),
)
"""The way from a graph to a plan, in this order and no other."""

Compute = Callable[[dict[str, Array]], dict[str, Array]]


class HostGraph:
    """One graph of one operation."""

    def __init__(self, module: HostCudnn, name: str, dtype: Any, handle: int | None) -> None:
        self.module, self.name, self.dtype, self.handle = module, name, dtype, handle
        self.given: dict[str, HostTensor] = {}
        self.made: dict[str, HostTensor] = {}
        self.options: dict[str, Any] = {}
        self.barred: list[str] = []
        self.method = ""
        self.compute: Compute | None = None
        self.steps: list[str] = []
        self.checks: list[Callable[[], None]] = []
        module.graphs.append(self)

    def tensor(
        self, dim: list[int], stride: list[int], data_type: Any, name: str = "", uid: int = -1
    ) -> HostTensor:
        found = HostTensor(uid, virtual=False)
        return found.set_dim(dim).set_stride(stride).set_data_type(data_type)

    def _operation(
        self,
        method: str,
        given: dict[str, HostTensor],
        made: Sequence[str],
        compute: Compute,
        **options: Any,
    ) -> list[HostTensor]:
        self.method, self.given, self.compute, self.options = method, given, compute, options
        self.made = {name: HostTensor() for name in made}
        return [*self.made.values()]

    # --- convolutions ---

    def conv_fprop(
        self,
        image: HostTensor,
        weight: HostTensor,
        padding: list[int],
        stride: list[int],
        dilation: list[int],
    ) -> HostTensor:
        slide = (padding, stride, dilation)
        self.checks.append(lambda: _fits(image, weight, self.made["y"], *slide))

        def compute(t: dict[str, Array]) -> dict[str, Array]:
            y = np.zeros(self.made["y"].dim, np.float32)
            for seen, w, out in _taps(t["x"], t["w"], y, *slide):
                out += np.einsum("ngc...,goc->ngo...", seen, w)
            return {"y": y}

        return self._operation("conv_fprop", {"x": image, "w": weight}, ["y"], compute)[0]

    def conv_dgrad(
        self,
        loss: HostTensor,
        filter: HostTensor,
        padding: list[int],
        stride: list[int],
        dilation: list[int],
    ) -> HostTensor:
        slide = (padding, stride, dilation)
        self.checks.append(lambda: _fits(self.made["dx"], filter, loss, *slide))

        def compute(t: dict[str, Array]) -> dict[str, Array]:
            dx = np.zeros(self.made["dx"].dim, np.float32)
            wide = _padded(dx, padding)
            for seen, w, g in _taps(wide, t["w"], t["g"], [0] * len(stride), stride, dilation):
                seen += np.einsum("ngo...,goc->ngc...", g, w)
            inner = (slice(p, p + n) for p, n in zip(padding, dx.shape[2:], strict=True))
            return {"dx": wide[(..., *inner)]}

        return self._operation("conv_dgrad", {"g": loss, "w": filter}, ["dx"], compute)[0]

    def conv_wgrad(
        self,
        image: HostTensor,
        loss: HostTensor,
        padding: list[int],
        stride: list[int],
        dilation: list[int],
    ) -> HostTensor:
        slide = (padding, stride, dilation)
        self.checks.append(lambda: _fits(image, self.made["dw"], loss, *slide))

        def compute(t: dict[str, Array]) -> dict[str, Array]:
            dw = np.zeros(self.made["dw"].dim, np.float32)
            for seen, w, g in _taps(t["x"], dw, t["g"], *slide):
                flat = (v.reshape((*v.shape[:3], -1)) for v in (g, seen))
                w += np.einsum("ngop,ngcp->goc", *flat)
            return {"dw": dw}

        return self._operation("conv_wgrad", {"x": image, "g": loss}, ["dw"], compute)[0]

    # --- attention ---

    def sdpa(
        self,
        q: HostTensor,
        k: HostTensor,
        v: HostTensor,
        generate_stats: bool,
        attn_scale: float,
        bias: HostTensor | None = None,
        diagonal_alignment: str = "TOP_LEFT",
        diagonal_band_right_bound: int | None = None,
    ) -> list[HostTensor | None]:
        given = {"q": q, "k": k, "v": v} | ({} if bias is None else {"bias": bias})
        mask = (attn_scale, diagonal_alignment, diagonal_band_right_bound)
        self.checks.append(lambda: _attends(given))

        def compute(t: dict[str, Array]) -> dict[str, Array]:
            w, stats = _weights(t, *mask)
            found = {"y": _by_heads(w, t["v"], "bhij,bhjd->bhid")}
            return found | ({"stats": stats} if generate_stats else {})

        names = ["y", "stats"] if generate_stats else ["y"]
        found = self._operation("sdpa", given, names, compute, mask=mask)
        return [*found, *[None] * (2 - len(found))]

    def sdpa_backward(
        self,
        q: HostTensor,
        k: HostTensor,
        v: HostTensor,
        o: HostTensor,
        dO: HostTensor,
        stats: HostTensor,
        attn_scale: float,
        bias: HostTensor | None = None,
        diagonal_alignment: str = "TOP_LEFT",
        diagonal_band_right_bound: int | None = None,
    ) -> list[HostTensor]:
        given = {"q": q, "k": k, "v": v, "y": o, "g": dO, "stats": stats}
        given |= {} if bias is None else {"bias": bias}
        mask = (attn_scale, diagonal_alignment, diagonal_band_right_bound)
        self.checks.append(lambda: _attends(given))

        def compute(t: dict[str, Array]) -> dict[str, Array]:
            w, _ = _weights(t, *mask, stats=t["stats"])
            dw = _by_heads(t["g"], t["v"], "bhid,bhjd->bhij")
            ds = w * (dw - (t["g"] * t["y"]).sum(-1, keepdims=True)) * attn_scale
            few = t["k"].shape[1]
            return {
                "dq": _by_heads(ds, t["k"], "bhij,bhjd->bhid"),
                "dk": _shared(np.einsum("bhij,bhid->bhjd", ds, t["q"]), few),
                "dv": _shared(np.einsum("bhij,bhid->bhjd", w, t["g"]), few),
            }

        return self._operation("sdpa_backward", given, ["dq", "dk", "dv"], compute, mask=mask)

    # --- planning ---

    def _step(self, name: str) -> None:
        if len(self.steps) >= len(STEPS) or STEPS[len(self.steps)] != name:
            raise RuntimeError(f"{name} after {self.steps}: the package would not do this")
        self.steps.append(name)

    def validate(self) -> None:
        self._step("validate")
        every = [*self.given.values(), *self.made.values()]
        if any(t.virtual or not t.dim or t.dtype is None for t in every):
            raise NotSupported("a tensor has no size, no dtype, or is not an output")
        if any(len(t.dim) != len(t.stride) for t in every):
            raise NotSupported("as many strides as sizes")
        if sorted(t.uid for t in every) != [*range(1, len(every) + 1)]:
            raise NotSupported("uids are not 1, 2, ...")
        for check in self.checks:
            check()

    def build_operation_graph(self) -> None:
        self._step("build_operation_graph")

    def create_execution_plans(self, modes: list[str]) -> None:
        self._step("create_execution_plans")

    def deselect_numeric_notes(self, notes: list[str]) -> None:
        self._step("deselect_numeric_notes")
        self.barred = [*notes]

    def check_support(self) -> None:
        self._step("check_support")
        if self.method in self.module.refuses:
            raise NotSupported("No execution plans support the graph.")

    def build_plans(self) -> None:
        self._step("build_plans")
        self.module.built += 1

    def get_workspace_size(self) -> int:
        return 64

    def execute(self, addresses: dict[int, int], workspace: int, handle: int) -> None:
        if self.steps != [*STEPS] or self.compute is None:
            raise RuntimeError("the graph has no plan")
        if handle not in self.module.streams or handle != self.handle or not workspace:
            raise RuntimeError("no handle, or no workspace")
        if set(addresses) != {t.uid for t in (*self.given.values(), *self.made.values())}:
            raise RuntimeError(f"addresses of {set(addresses)} are not those of the graph")
        arrays = {n: t.memory(addresses[t.uid]).astype(np.float32) for n, t in self.given.items()}
        with np.errstate(all="ignore"):
            for name, value in self.compute(arrays).items():
                tensor = self.made[name]
                tensor.memory(addresses[tensor.uid])[...] = value.astype(tensor.dtype)
        self.module.ran.append(self.method)


# --- convolution by definition -------------------------------------------------------------------


def _fits(
    x: HostTensor,
    w: HostTensor,
    y: HostTensor,
    padding: list[int],
    stride: list[int],
    dilation: list[int],
) -> None:
    """Sizes as cuDNN relates them; it convolves over two axes or three."""
    n = len(x.dim) - 2
    if n not in (2, 3) or {len(w.dim), len(y.dim)} != {n + 2}:
        raise NotSupported("two or three axes")
    if not all(type(v) is list and len(v) == n for v in (padding, stride, dilation)):
        raise NotSupported("lists of one number an axis")
    if x.dim[1] % w.dim[1] or w.dim[0] % (x.dim[1] // w.dim[1]) or x.dim[0] != y.dim[0]:
        raise NotSupported("channels do not split into groups")
    axes = zip(x.dim[2:], w.dim[2:], padding, stride, dilation, strict=True)
    counts = [(m + 2 * p - d * (k - 1) - 1) // s + 1 for m, k, p, s, d in axes]
    if [w.dim[0], *counts] != y.dim[1:]:
        raise NotSupported(f"the result would be {counts}, not {y.dim}")


def _padded(x: Array, padding: Sequence[int]) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])


def _taps(
    x: Array,
    w: Array,
    y: Array,
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Iterator[tuple[Array, Array, Array]]:
    """For each tap: what it sees of x (n, G, c, ...), its weights (G, o, c), and y (n, G, o, ...).

    All are views, of the arrays given unless x is padded.
    """
    groups = x.shape[1] // w.shape[1]
    x = _padded(x, padding) if any(padding) else x
    x = x.reshape((len(x), groups, -1, *x.shape[2:]))
    split = w.reshape((groups, -1, *w.shape[1:]))
    out = y.reshape((len(y), groups, -1, *y.shape[2:]))
    for tap in product(*map(range, w.shape[2:])):
        axes = zip(tap, dilation, stride, y.shape[2:], strict=True)
        places = tuple(slice(t * d, t * d + (m - 1) * s + 1, s) for t, d, s, m in axes)
        yield x[(..., *places)], split[(..., *tap)], out


# --- attention by definition ---------------------------------------------------------------------


def _attends(t: dict[str, HostTensor]) -> None:
    """Sizes as cuDNN wants them."""
    q, k, v = (t[name].dim for name in ("q", "k", "v"))
    for name, x in t.items():
        if len(x.dim) != 4 or (name not in ("stats", "bias") and x.stride[-1] != 1):
            raise NotSupported(f"{name}: four axes, the last without gaps")
        if name not in ("stats",) and x.dtype == DTYPES["FLOAT"]:
            raise NotSupported("16-bit floats only")
    if q[1] % k[1] or k[:3] != v[:3] or q[0] != k[0] or q[3] != k[3] or q[3] % 8 or v[3] % 8:
        raise NotSupported(f"q {q}, k {k}, v {v}")
    if "bias" in t:
        lead, ends = t["bias"].dim[:2], t["bias"].dim[2:]
        if ends != [q[2], k[2]] or any(m not in (1, n) for m, n in zip(lead, q, strict=False)):
            raise NotSupported(f"bias {t['bias'].dim}")


def _by_heads(a: Array, b: Array, rule: str) -> Array:
    """A product in which heads of a share those of b."""
    return np.einsum(rule, a, np.repeat(b, a.shape[1] // b.shape[1], axis=1))


def _shared(x: Array, heads: int) -> Array:
    """The sums over the heads that share one."""
    return x.reshape((len(x), heads, -1, *x.shape[2:])).sum(2)


def _weights(
    t: dict[str, Array], scale: float, corner: str, bound: int | None, stats: Array = None
) -> tuple[Array, Array]:
    """The softmax of the scores and the logarithm of each row's sum, which may be given."""
    s = _by_heads(t["q"], t["k"], "bhid,bhjd->bhij") * np.float32(scale)
    if "bias" in t:
        s = s + t["bias"]
    if bound is not None:
        first = bound + (s.shape[3] - s.shape[2] if corner == "BOTTOM_RIGHT" else 0)
        s = np.where(np.tri(s.shape[2], s.shape[3], first, dtype=bool), s, -np.inf)
    if stats is None:
        peak = s.max(-1, keepdims=True)
        stats = peak + np.log(np.exp(s - peak).sum(-1, keepdims=True))
    assert prod(stats.shape) == prod(s.shape[:3])
    return np.exp(s - stats), stats
