"""cuDNN through its own Python package: a description of one graph in, a launch on a stream out.

The package (`nvidia-cudnn-frontend`, module `cudnn`) is imported when a graph is first asked for.
A description (`Graph`) is plain numbers: the tensors with sizes, strides and dtype, and the
options of the one operation between them. Its plan is built once for a device and thread and
kept; a description that cuDNN has no plan for is kept as refused, and its caller computes
otherwise. Where the package or cuDNN itself is missing every description is.

16-bit tensors are computed in float32; float32 is float32 unless
`set_float32_matmul_precision` allows TF32.

Floor 1: stands on gemm.py and trace.py.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from . import gemm
from .trace import note

__all__ = ["Cudnn", "Graph", "Tensor", "describe", "has_run", "installed", "run", "using"]

Array: TypeAlias = Any

DTYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}
"""Our dtypes -> names of cuDNN's; float64 is the formula's."""

REFUSALS = (NotImplementedError, RuntimeError, ValueError)
"""What the package raises, beside an error of its own, where no plan computes a graph."""


# --- what a graph is -----------------------------------------------------------------------------


class Tensor(NamedTuple):
    """An array as cuDNN sees it: what it is called, sizes, strides in elements, dtype."""

    role: str
    dim: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Graph:
    """One operation between tensors: all that a plan depends on."""

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: tuple[tuple[str, Any], ...]
    barred: tuple[str, ...]


def describe(
    kind: str, inputs: dict[str, Array], outputs: dict[str, Array], **options: Any
) -> tuple[Graph, list[Array]]:
    """The graph of an operation between arrays by their roles, and the arrays in its order."""
    given = tuple(_tensor(role, x) for role, x in inputs.items())
    made = tuple(_tensor(role, x) for role, x in outputs.items())
    graph = Graph(kind, given, made, tuple(options.items()), _barred(given[0].dtype))
    return graph, [*inputs.values(), *outputs.values()]


def _tensor(role: str, x: Array) -> Tensor:
    """Strides of axes of length 1 are those of a dense array, channels first or last: any would
    do, but cuDNN tells layouts by them, and plans are not made twice.
    """
    size, stride, order = x.dtype.itemsize, list(x.strides), [*range(x.ndim)]
    if x.ndim > 3 and x.shape[1] > 1 and stride[1] == size and not x.flags.c_contiguous:
        order = [0, *range(2, x.ndim), 1]
    inner = size
    for i in reversed(order):
        if x.shape[i] == 1:
            stride[i] = inner
        inner = stride[i] * x.shape[i]
    return Tensor(role, tuple(x.shape), tuple(s // size for s in stride), x.dtype.name)


def _barred(dtype: str) -> tuple[str, ...]:
    """Numerical notes of engines that round more than our dtypes promise."""
    if dtype != "float32":
        return ("REDUCED_PRECISION_REDUCTION",)
    if gemm.get_float32_matmul_precision() == "highest":
        return ("DOWN_CONVERT_INPUTS", "TENSOR_CORE")
    return ("DOWN_CONVERT_INPUTS",)


# --- how each kind is said in cuDNN's words ------------------------------------------------------

Tensors: TypeAlias = dict[str, Any]
Builder: TypeAlias = Callable[[Any, Any, Tensors, dict[str, Any]], Tensors]


def _convolution(_cudnn: Any, graph: Any, t: Tensors, options: dict[str, Any]) -> Tensors:
    return {"y": graph.conv_fprop(image=t["x"], weight=t["w"], **_lists(options))}


def _convolution_input(_cudnn: Any, graph: Any, t: Tensors, options: dict[str, Any]) -> Tensors:
    return {"dx": graph.conv_dgrad(loss=t["g"], filter=t["w"], **_lists(options))}


def _convolution_weight(_cudnn: Any, graph: Any, t: Tensors, options: dict[str, Any]) -> Tensors:
    return {"dw": graph.conv_wgrad(image=t["x"], loss=t["g"], **_lists(options))}


def _lists(options: dict[str, Any]) -> dict[str, list[int]]:
    return {name: [*numbers] for name, numbers in options.items()}


def _masks(cudnn: Any, t: Tensors, options: dict[str, Any]) -> dict[str, Any]:
    """The arguments that attention and its backward share. `causal`: "first" or "last" aligned."""
    found: dict[str, Any] = {"attn_scale": options["scale"]}
    if options["causal"]:
        corner = "TOP_LEFT" if options["causal"] == "first" else "BOTTOM_RIGHT"
        found["diagonal_alignment"] = getattr(cudnn.diagonal_alignment, corner)
        found["diagonal_band_right_bound"] = 0
    if "bias" in t:
        found["bias"] = t["bias"]
    return found


def _attention(cudnn: Any, graph: Any, t: Tensors, options: dict[str, Any]) -> Tensors:
    y, stats = graph.sdpa(
        q=t["q"], k=t["k"], v=t["v"],
        generate_stats=options["stats"], **_masks(cudnn, t, options),
    )  # fmt: skip
    return {"y": y, "stats": stats} if options["stats"] else {"y": y}


def _attention_back(cudnn: Any, graph: Any, t: Tensors, options: dict[str, Any]) -> Tensors:
    dq, dk, dv = graph.sdpa_backward(
        q=t["q"], k=t["k"], v=t["v"], o=t["y"], dO=t["g"], stats=t["stats"],
        **_masks(cudnn, t, options),
    )  # fmt: skip
    return {"dq": dq, "dk": dk, "dv": dv}


BUILDERS: dict[str, Builder] = {
    "convolution": _convolution,
    "convolution_input": _convolution_input,
    "convolution_weight": _convolution_weight,
    "attention": _attention,
    "attention_back": _attention_back,
}


# --- the library ---------------------------------------------------------------------------------


class Plan(NamedTuple):
    """A graph of the package that is ready to run, and the bytes of scratch memory it wants."""

    graph: Any
    workspace: int


class Cudnn:
    """Runs graphs on the current device; a handle and the plans for each device and thread.

    `module` is the package, or a double of it. Raises ImportError where the package is missing,
    RuntimeError or OSError where it finds no cuDNN.
    """

    def __init__(self, module: Any = None) -> None:
        self.module: Any = importlib.import_module("cudnn") if module is None else module
        self.module.backend_version()
        declined = getattr(self.module, "cudnnGraphNotSupportedError", NotImplementedError)
        self.refusals: tuple[type[Exception], ...] = (*REFUSALS, declined)
        self.refused: dict[Graph, str] = {}
        self._own = threading.local()

    def run(self, graph: Graph, arrays: Sequence[Array]) -> bool:
        """Launch on the current stream; False, and nothing is done, where cuDNN has no plan."""
        if graph in self.refused:
            return False
        cupy: Any = importlib.import_module("cupy")
        handle = self._handle(cupy.cuda.runtime.getDevice(), cupy.cuda.get_current_stream().ptr)
        plans = self._plans()
        plan = plans.get((handle, graph))
        if plan is None:
            try:
                plan = plans[handle, graph] = self._build(graph, handle)
            except self.refusals as error:
                self.refused[graph] = f"{type(error).__name__}: {error}"
                return False
        scratch = cupy.empty(max(plan.workspace, 1), "uint8")  # the pool keeps it for this stream
        addresses = {i: int(x.data.ptr) for i, x in enumerate(arrays, 1)}
        plan.graph.execute(addresses, int(scratch.data.ptr), handle=handle)
        note(f"cudnn::{graph.kind}")
        return True

    def knows(self, graph: Graph) -> bool:
        """Whether this thread has run the graph."""
        plans, handles = self._plans(), self._handles().values()
        return any((handle, graph) in plans for handle in handles)

    def _plans(self) -> dict[tuple[int, Graph], Plan]:
        return self._own.__dict__.setdefault("plans", {})

    def _handles(self) -> dict[int, int]:
        return self._own.__dict__.setdefault("handles", {})

    def _handle(self, device: int, stream: int) -> int:
        handles = self._handles()
        if device not in handles:
            handles[device] = self.module.create_handle()
        self.module.set_stream(handle=handles[device], stream=stream)
        return handles[device]

    def _build(self, graph: Graph, handle: int) -> Plan:
        cudnn, made = self.module, self.described(graph, handle)
        made.validate()
        made.build_operation_graph()
        made.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        made.deselect_numeric_notes([getattr(cudnn.numerical_note, n) for n in graph.barred])
        made.check_support()
        made.build_plans()
        return Plan(made, int(made.get_workspace_size()))

    def described(self, graph: Graph, handle: int | None) -> Any:
        """The graph in the package's own words, before anything is planned."""
        cudnn, dtype = self.module, self._dtype
        made = cudnn.pygraph(
            name=graph.kind,
            io_data_type=dtype(graph.inputs[0].dtype),
            intermediate_data_type=cudnn.data_type.FLOAT,
            compute_data_type=cudnn.data_type.FLOAT,
            handle=handle,
        )
        given: Tensors = {}
        for uid, x in enumerate(graph.inputs, 1):
            given[x.role] = made.tensor(
                name=x.role, dim=[*x.dim], stride=[*x.stride], data_type=dtype(x.dtype), uid=uid
            )
        found = BUILDERS[graph.kind](cudnn, made, given, dict(graph.options))
        for uid, x in enumerate(graph.outputs, 1 + len(graph.inputs)):
            out = found[x.role]
            out.set_output(True).set_uid(uid).set_data_type(dtype(x.dtype))
            out.set_dim([*x.dim]).set_stride([*x.stride])
        return made

    def _dtype(self, name: str) -> Any:
        return getattr(self.module.data_type, DTYPES[name])


# --- the one in use ------------------------------------------------------------------------------

_chosen: Cudnn | None = None
_missing = False


def in_use() -> Cudnn | None:
    """The library in use; None where the package or cuDNN is not installed."""
    global _chosen, _missing
    if _chosen is None and not _missing:
        try:
            _chosen = Cudnn()
        except (ImportError, OSError, RuntimeError):
            _missing = True
    return _chosen


def installed() -> bool:
    """Whether graphs can be asked for at all."""
    return in_use() is not None


@contextmanager
def using(chosen: Cudnn | None) -> Generator[None]:
    """Run graphs with another library inside a `with` block; None stands for a missing one."""
    global _chosen, _missing
    before = _chosen, _missing
    _chosen, _missing = chosen, chosen is None
    try:
        yield
    finally:
        _chosen, _missing = before


def has_run(kind: str, inputs: dict[str, Array], outputs: dict[str, Array], **options: Any) -> bool:
    """Whether `run` has computed such arrays with the library in use."""
    return _chosen is not None and _chosen.knows(describe(kind, inputs, outputs, **options)[0])


def run(kind: str, inputs: dict[str, Array], outputs: dict[str, Array], **options: Any) -> bool:
    """Compute `outputs` from `inputs`; False where cuDNN is missing or has no plan."""
    chosen = in_use()
    if chosen is None:
        return False
    graph, arrays = describe(kind, inputs, outputs, **options)
    return chosen.run(graph, arrays)
