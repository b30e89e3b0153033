"""The compiled kernels, without a GPU: NVRTC takes every instantiation for every architecture, and
the machine code for sm_90 keeps its budgets: registers, spills, access widths, instructions per
element.

Needs the NVRTC, CUDA header and nvdisasm wheels; skipped with the reason where one is missing.
"""

from __future__ import annotations

from functools import cache

import pytest

from gradengine.cuda import emulator, instances, nvrtc, report, source


def missing_nvrtc() -> str | None:
    try:
        nvrtc.include_directories()
        nvrtc.version()
    except nvrtc.NvrtcMissing as error:
        return str(error)
    return None


NVRTC = missing_nvrtc()
DISASSEMBLER = NVRTC or (None if report.disassembler() else "pip install nvidia-cuda-nvdisasm")
needs_nvrtc = pytest.mark.skipif(NVRTC is not None, reason=f"compiling kernels: {NVRTC}")
needs_code = pytest.mark.skipif(DISASSEMBLER is not None, reason=f"machine code: {DISASSEMBLER}")

CODE = "sm_90"  # what the budgets are about: an H200


@cache
def everything() -> dict[str, list[report.Resources]]:
    """Every instantiation for every architecture; kept by a hash of the sources."""
    archs = {arch: arch == CODE and DISASSEMBLER is None for arch in instances.ARCHITECTURES}
    groups = instances.groups().values()
    return report.measure_all(groups, archs, cache=emulator.build_folder())


def measured(arch: str) -> dict[str, report.Resources]:
    return {row.name: row for row in everything()[arch]}


@needs_nvrtc
@pytest.mark.parametrize("arch", instances.ARCHITECTURES)
def test_every_instantiation_compiles(arch: str) -> None:
    """All of them, and none spills more than a little: see SPILLS for sm_90."""
    rows = measured(arch)
    assert set(rows) == set(instances.every())
    assert len(rows) > 1500
    assert max(row.registers for row in rows.values()) <= 128
    spilled = {name: row.spills for name, row in rows.items() if row.spills}
    narrow = [name for name in spilled if "double" not in name]
    assert max(spilled.values(), default=0) <= 64, spilled
    assert len(narrow) <= 4, narrow


def test_every_kernel_and_functor_is_in_the_list() -> None:
    """A kernel or functor added to the sources must be added to the proof."""
    named = [instances.parse(name) for name in instances.every()]
    assert {kernel for kernel, _ in named} == set(source.kernels())
    used = {arguments[0] for _, arguments in named if arguments}
    assert set(source.functors()) <= used
    assert len(set(instances.every())) == len(instances.every())


# --- budgets -------------------------------------------------------------------------------------

SPILLS: dict[str, int] = {}
"""Kernels that may spill, and how many bytes: none does."""

STACK = {
    f"{stem}<{f},{t}>"
    for stem in ("map_forward", "map_vjp", "map_forward_strided", "map_vjp_strided")
    for f in ("Sin", "Cos", "Tan")
    for t in ("f16", "bf16", "float", "double")
}
"""Kernels with a stack: the reduction of huge angles keeps a table there."""

# f32 kernels between 0.75 and 0.95 of the issue budget: accurate libm, rare branches counted as run
DEAR = {"Tanhshrink"}


@needs_code
def test_spills_and_stacks() -> None:
    """No kernel spills; a stack only where huge angles are reduced."""
    rows = measured(CODE).values()
    over = {r.name: r.spills for r in rows if r.spills > SPILLS.get(r.name, 0)}
    assert not over
    stacked = {r.name for r in rows if r.stack} - set(SPILLS) - STACK
    assert not stacked


FLAT = ("Sign", "Floor", "Ceil", "Trunc", "Round", "FloorDivide")
"""Functors with slope 0: 0 whatever the cotangent is, so their vjp reads nothing."""


@needs_code
def test_vector_kernels_move_16_bytes() -> None:
    """Every kernel with a 16-byte vector has LDG.128, and STG.128 where it writes a vector."""
    scalar_out = ("row_sums", "column_sums", "scatter_add_atomic", "cast", "sgd_step", "adam_step")
    checked = 0
    for row in measured(CODE).values():
        kernel, arguments = instances.parse(row.name)
        n = report.elements_per_vector(row.name)
        if n is None or kernel == "clip_coefficient" or (kernel == "cast" and arguments[0] == "1"):
            continue
        if kernel == "cast":
            wider_in = instances.SIZES[arguments[1]] >= instances.SIZES[arguments[2]]
            assert (row.load if wider_in else row.store) == 128, row
        else:
            assert row.load == 128 or ("vjp" in kernel and arguments[0] in FLAT), row
            assert kernel in scalar_out or row.store == 128, row
        checked += 1
    assert checked > 700


@needs_code
def test_two_vectors_are_in_flight() -> None:
    """A unary kernel loads both of its vectors before it uses the first."""
    names = ["map_forward<Gelu,bf16>", "map_forward<Gelu,float>"]
    result = nvrtc.compile_cubin(source.inlined("map.cu"), names, CODE)
    code = report.disassemble(result.cubin)
    for name in names:
        bodies = report.loops(code[result.names[name]])
        orders = [["LDG" in line for line in body if ".128" in line] for body in bodies]
        assert [True, True, False, False] in orders, orders


@needs_code
def test_what_is_overwritten_is_not_read_as_read_only() -> None:
    """Cross-entropy may write its gradient over the logits: LDG.CONSTANT would not be allowed."""
    names = [f"softmax_cross_entropy<{cached},4,float>" for cached in ("true", "false")]
    names.append("softmax_forward<false,true,4,float>")  # that the pattern can match
    result = nvrtc.compile_cubin(source.inlined("rows.cu"), names, CODE)
    code = report.disassemble(result.cubin)
    constant = [any("LDG.E.128.CONSTANT" in x for x in code[result.names[n]]) for n in names]
    assert constant == [False, False, True]


@needs_code
def test_registers_leave_room_for_enough_threads() -> None:
    """Elementwise kernels leave half of a multiprocessor's threads or more."""
    for row in measured(CODE).values():
        if row.name.startswith(("map", "bias_forward")):
            activation = instances.parse(row.name)[1][0] in instances.activations()
            wide = "double" in row.name
            assert row.registers <= (72 if wide else 40 if activation else 64), row
        elif row.name.startswith(("softmax", "norm_forward", "dropout", "sgd", "adam")):
            assert row.registers <= 64, row
        else:
            assert row.registers <= 128, row


@needs_code
def test_activations_keep_the_issue_budget() -> None:
    """At most 3/4 of what an H200 can issue while it moves the bytes; no call in 16 bits."""
    checked = 0
    for row in measured(CODE).values():
        kernel, arguments = instances.parse(row.name)
        if (
            kernel not in ("map_forward", "map_vjp", "bias_forward", "bias_vjp")
            or "double" in arguments
        ):
            continue
        if arguments[0] not in instances.activations():
            continue
        assert row.instructions is not None
        assert row.bytes is not None
        part = row.instructions / (report.INSTRUCTIONS_PER_BYTE * row.bytes)
        dear = arguments[0] in DEAR and (arguments[1] == "float" or kernel == "bias_forward")
        assert part <= (0.95 if dear else 0.78 if kernel == "bias_vjp" else 0.75), (row, part)
        assert arguments[1] == "float" or row.calls == 0, row
        checked += 1
    assert checked == 22 * 4 * 3


@needs_code
def test_other_kernels_keep_the_issue_budget() -> None:
    """Row kernels, dropout, optimiser steps, sums and copies: bandwidth is the limit, not issue."""
    checked = 0
    for row in measured(CODE).values():
        kernel, arguments = instances.parse(row.name)
        if kernel.startswith(("map", "bias")) or "double" in arguments or row.share is None:
            continue
        assert row.instructions is not None
        assert row.bytes is not None
        part = row.instructions / (report.INSTRUCTIONS_PER_BYTE * row.bytes)
        slow = kernel == "norm_vjp" and arguments[1] == "0"  # rows beyond the registers
        assert part <= (1.0 if slow else 0.8), (row, part)
        checked += 1
    assert checked > 80


# --- the readers themselves ----------------------------------------------------------------------


def test_the_log_is_read() -> None:
    log = (
        "ptxas info    : Compiling entry function 'k1' for 'sm_90'\n"
        "ptxas info    : Function properties for k1\n"
        "    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
        "ptxas info    : Used 40 registers, used 1 barriers, 512 bytes smem\n"
        "ptxas info    : Compiling entry function 'k2' for 'sm_90'\n"
        "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used 16 registers\n"
    )
    assert report.parse_log(log) == {"k1": (40, 28, 8, 512), "k2": (16, 0, 0, 0)}


def test_loops_and_costs_are_read() -> None:
    """The innermost loop that moves vectors counts, per element; the scalar tail does not."""
    code = [
        "MOV R1, c[0x0]",
        ".L_x_1:",
        "LDG.E.128.CONSTANT R4, [R2]",
        ".L_x_2:",
        "IADD3 R1, R1, 1",
        "@P0 BRA `(.L_x_2)",
        "FMUL R4, R4, R5",
        "STG.E.128 [R2], R4",
        "@P1 BRA `(.L_x_1)",
        ".L_x_3:",
        "LDG.E R4, [R2]",
        "STG.E [R2], R4",
        "@P1 BRA `(.L_x_3)",
        "EXIT",
    ]
    (body,) = report.loops(code)
    assert len(body) == 6
    assert report.summary("map_forward<Relu,float>", code) == {
        "load": 128,
        "store": 128,
        "calls": 0,
        "instructions": 1.5,
    }


@needs_code
def test_a_spilling_kernel_would_be_seen() -> None:
    """A planted kernel with more live values than registers shows spills; one with calls, calls."""
    text = (
        'extern "C" __global__ void __launch_bounds__(1024, 2) spill(float* x) {\n'
        "float v[90];\n#pragma unroll\n"
        "for (int i = 0; i < 90; ++i) v[i] = x[i * 7 + threadIdx.x];\n"
        "__syncthreads();\n#pragma unroll\n"
        "for (int i = 0; i < 90; ++i) x[i * threadIdx.x] = v[89 - i] * v[i];\n}\n"
    )
    result = nvrtc.compile_cubin(text, ["spill"], CODE, ("--ptxas-options=-v",))
    assert report.parse_log(result.log)["spill"][1] > 0
