"""The loader: where the sources are found, how they are inlined, cached and complained about; the
command
line; and the tie between rows of the registry and functors of the headers."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_kernels_compiled import needs_code, needs_nvrtc

from gradengine.cuda import cli, emulator, instances, kernels, nvrtc, report, source
from gradengine.errors import MissingDependencyError

# --- finding -------------------------------------------------------------------------------------


def plant(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_text("// here\n")
    return folder


def test_wheel_comes_before_checkout(tmp_path: Path) -> None:
    """<package>/kernels, then <package>/../kernels; one without the sentinel is not ours."""
    package = tmp_path / "gradengine"
    checkout = plant(tmp_path / "kernels", "common.cuh")
    assert source.folder(package) == checkout
    wheel = plant(package / "kernels", "something.py")
    assert source.folder(package) == checkout
    (wheel / "common.cuh").write_text("")
    assert source.folder(package) == wheel


def test_nowhere_names_both_places(tmp_path: Path) -> None:
    plant(tmp_path / "kernels", "layers.py")  # another project's package of this name
    with pytest.raises(MissingDependencyError) as error:
        source.folder(tmp_path / "gradengine")
    assert str(tmp_path / "kernels") in str(error.value)
    assert str(tmp_path / "gradengine" / "kernels") in str(error.value)
    assert "hint:" in str(error.value)


def test_folder_holds_cuda_only() -> None:
    """CUDA C++ and nothing else: no Python package may appear under this name."""
    names = {path.suffix for path in source.folder().iterdir()}
    assert names == {".cu", ".cuh"}


# --- inlining ------------------------------------------------------------------------------------


def test_includes_are_inlined_once(tmp_path: Path) -> None:
    (tmp_path / "a.cuh").write_text("#pragma once\nint a;\n")
    (tmp_path / "b.cuh").write_text('#pragma once\n#include "a.cuh"\nint b;\n')
    (tmp_path / "u.cu").write_text(
        '#include "b.cuh"\n#include "a.cuh"\n#include <cuda_fp16.h>\nint u;\n'
    )
    text = source.inlined("u.cu", tmp_path)
    assert text.count("int a;") == 1
    assert '"a.cuh"\n' in text  # named by #line
    assert "#include <cuda_fp16.h>" in text
    assert '#include "' not in text
    assert text.index("int a;") < text.index("int b;") < text.index("int u;")


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_line_numbers_survive_inlining(tmp_path: Path) -> None:
    """The preprocessor attributes every line to its own file and number."""
    for unit in source.units():
        file = tmp_path / f"{unit}.cpp"
        text = source.inlined(unit).replace("#include <", "// <").replace("#include", "// ")
        file.write_text(text)
        done = subprocess.run(["g++", "-E", str(file)], capture_output=True, text=True, check=True)
        place, number = "", 0
        for line in done.stdout.splitlines():
            if line.startswith("# "):
                _, digits, name = line.split()[:3]
                place, number = name.strip('"'), int(digits)
                continue
            if place.endswith((".cu", ".cuh")) and line.startswith("template <template"):
                assert source.line_of(place, number).startswith(line.split("  ")[0][:40])
            number += 1


def test_every_unit_defines_kernels() -> None:
    assert set(source.kernels().values()) == set(source.units())


# --- compiling and the cache ---------------------------------------------------------------------

NAME = "map_forward<Relu,float>"


@needs_nvrtc
def test_cache_is_used_and_distrusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time nothing is compiled; damage is noticed; arch and source are in the key."""
    calls: list[str] = []
    real = nvrtc.compile_cubin

    def counted(*args: Any) -> nvrtc.Compiled:
        calls.append(args[2])
        return real(*args)

    monkeypatch.setattr(nvrtc, "compile_cubin", counted)
    first = kernels.compiled([NAME], "sm_90", cache=tmp_path)
    again = kernels.compiled([NAME], "sm_90", cache=tmp_path)
    assert calls == ["sm_90"]
    assert again == first
    assert first.cubin[:4] == b"\x7fELF"
    kernels.compiled([NAME], "sm_80", cache=tmp_path)
    assert calls == ["sm_90", "sm_80"]
    for file in tmp_path.glob("*.cubin"):
        file.write_bytes(file.read_bytes()[:100])
    mended = kernels.compiled([NAME], "sm_90", cache=tmp_path)
    assert len(calls) == 3
    assert mended.names == first.names  # NVRTC puts an id of its own into the bytes
    assert (mended.cubin[:4], len(mended.cubin)) == (b"\x7fELF", len(first.cubin))
    assert kernels.compiled([NAME], "sm_90", cache=tmp_path) == mended
    assert len(calls) == 3
    text = source.inlined("map.cu")
    assert kernels.key(text, [NAME], "sm_90") != kernels.key(text + " ", [NAME], "sm_90")


@needs_nvrtc
def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert kernels.compiled([NAME], "sm_90", cache=tmp_path / "file").cubin


def test_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADENGINE_CACHE", str(tmp_path))
    assert kernels.cache_folder() == tmp_path
    monkeypatch.delenv("GRADENGINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert str(kernels.cache_folder()).startswith(str(tmp_path)) == (sys.platform != "win32")


@needs_nvrtc
def test_compile_error_shows_our_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "kernels"
    shutil.copytree(source.folder(), broken)
    header = broken / "activations.cuh"
    text = header.read_text().replace(
        "return x <= A(0) ? A(0) : x;", "return x <= A(0) ? zero : x;"
    )
    header.write_text(text)
    number = next(i for i, line in enumerate(text.splitlines(), 1) if "? zero" in line)
    monkeypatch.setattr(source, "folder", lambda: broken)
    monkeypatch.setattr(kernels, "_inlined", source.inlined)
    with pytest.raises(kernels.KernelCompileError) as error:
        kernels.compiled([NAME], "sm_90", cache=tmp_path / "cache")
    message = str(error.value)
    assert NAME in message
    assert "sm_90" in message
    assert f"activations.cuh:{number}:" in message
    assert "return x <= A(0) ? zero : x;" in message
    assert "hint:" in message


def test_unknown_kernels_are_named() -> None:
    with pytest.raises(ValueError, match=r"no kernel 'nothing<float>'[\s\S]*map_forward"):
        kernels.compiled(["nothing<float>"], "sm_90")
    with pytest.raises(ValueError, match="one unit at a time"):
        kernels.compiled([NAME, "dropout<float>"], "sm_90")


def test_missing_nvrtc_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_roots", lambda: iter(()))
    monkeypatch.setattr(ctypes, "CDLL", _refuse)
    nvrtc._library.cache_clear()
    nvrtc.include_directories.cache_clear()
    try:
        with pytest.raises(nvrtc.NvrtcMissing, match="pip install"):
            nvrtc._library()
        with pytest.raises(nvrtc.NvrtcMissing, match="pip install"):
            nvrtc.include_directories()
    finally:
        nvrtc._library.cache_clear()
        nvrtc.include_directories.cache_clear()


def _refuse(*args: Any, **options: Any) -> None:
    raise OSError("not there")


@needs_nvrtc
def test_warmup_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """warmup asks the back end for each kernel, once each."""

    class Recorder:
        name = "recorder"
        asked: list[str] = []  # noqa: RUF012

        def function(self, kernel: str, shared: int) -> int:
            self.asked.append(kernel)
            return 1

    recorder: Any = Recorder()
    with kernels.using(recorder):
        assert kernels.warmup([NAME, "dropout<float>"]) == 2
    assert recorder.asked == [NAME, "dropout<float>"]


# --- arguments -----------------------------------------------------------------------------------


def test_arguments_are_packed_by_value() -> None:
    """NumPy scalars keep their C type, structures their bytes, None is null, arrays an address."""

    class Pair(ctypes.Structure):
        _fields_ = (("a", ctypes.c_int32), ("b", ctypes.c_double))

    x = np.arange(3.0)
    args = [x, None, np.float32(1.5), np.int64(-7), np.uint32(9), Pair(1, 2.5)]
    block, alive = kernels.pack(args, lambda a: a.ctypes.data)
    assert ctypes.c_void_p.from_address(block[0]).value == x.ctypes.data
    assert ctypes.c_void_p.from_address(block[1]).value is None
    assert ctypes.c_float.from_address(block[2]).value == 1.5
    assert ctypes.c_int64.from_address(block[3]).value == -7
    assert ctypes.c_uint32.from_address(block[4]).value == 9
    assert ctypes.c_double.from_address(block[5] + 8).value == 2.5
    assert len(alive) == 6


def test_cupy_is_not_imported() -> None:
    """Neither the loader, nor the launch code, nor the command line imports CuPy."""
    code = (
        "import sys; from gradengine.cuda import cli, kernels, launch, moves, rows, steps; "
        "sys.exit('cupy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class FakeCupy:
    """As much of CuPy as the back end touches, recording what it is asked."""

    ndarray = np.ndarray

    class RawModule:
        def __init__(self, path: str) -> None:
            self.cubin = Path(path).read_bytes()

        def get_function(self, name: str) -> Any:
            return SimpleNamespace(kernel=SimpleNamespace(ptr=77), name=name, cubin=self.cubin)

    class cuda:
        runtime = SimpleNamespace(getDevice=lambda: 0, getDeviceCount=lambda: 2)

        class Device:
            compute_capability = "90"

            def __init__(self, index: int = 0) -> None:
                self.attributes = {
                    "MultiProcessorCount": 132,
                    "MaxSharedMemoryPerBlockOptin": 232448,
                }

        @staticmethod
        def get_current_stream() -> Any:
            return SimpleNamespace(ptr=5)


@needs_nvrtc
def test_cupy_back_end_loads_once_and_launches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our cubin goes to RawModule, the function and the packed arguments to the driver."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    assert callable(importlib.import_module("cupy_backends.cuda.api.driver").launchKernel)
    monkeypatch.setenv("GRADENGINE_CACHE", str(tmp_path))
    launched: list[tuple[Any, ...]] = []
    driver = SimpleNamespace(launchKernel=lambda *args: launched.append(args))
    device = kernels.CupyBackend(FakeCupy, driver)
    monkeypatch.setattr(device, "pointer", lambda x: x.ctypes.data)
    x = np.zeros(4, np.float32)
    with kernels.using(device):
        for shared in (0, 0, 100_000):
            kernels.launch(NAME, (2, 1, 1), (256, 1, 1), (x, x, np.int64(4)), shared)
    assert len(list(tmp_path.glob("*.cubin"))) == 1
    assert [args[:9] for args in launched] == [
        (77, 2, 1, 1, 256, 1, 1, shared, 5) for shared in (0, 0, 100_000)
    ]
    ((raw, allowed, _),) = device._functions.values()
    assert raw.name.startswith("_Z11map_forward")
    assert raw.cubin[:4] == b"\x7fELF"
    assert raw.max_dynamic_shared_size_bytes == allowed == 100_000
    assert device.multiprocessors() == 132
    assert device.shared_limit() == 232448 - 4096


# --- the command line ----------------------------------------------------------------------------


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    options = parser.parse_args(["kernels", *words])
    return options.run(options)


@needs_nvrtc
def test_command_compile(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compile", "--arch", "sm_90", "--match", "<Gelu,float>", "--jobs", "1") == 0
    out = capsys.readouterr().out
    assert "sm_90: 6 kernels, 0 with spills" in out


@needs_code
def test_command_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("report", "--match", "map_vjp<Gelu,bf16>", "--jobs", "1") == 0
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == [*" ".join(report.HEAD).split()]
    cells = row.split()
    assert cells[0] == "map_vjp<Gelu,bf16>"
    assert cells[2:6] == ["0", "128", "128", "6"]
    assert command("report", "--match", "map_vjp<Gelu,bf16>", "--jobs", "1", "--json") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["registers"] == int(cells[1])
    assert facts["share"] == 1.0


def test_command_with_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compile", "--match", "no such thing") == 1
    assert "no such thing" in capsys.readouterr().err


@needs_nvrtc
def test_command_reports_a_wrong_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compile", "--arch", "sm_1", "--match", NAME, "--jobs", "1") == 1
    assert "sm_1" in capsys.readouterr().err


# --- rows and functors ---------------------------------------------------------------------------


def test_rows_and_functors_match_one_to_one() -> None:
    """Every functor is some row's kernel and every row's kernel is a functor, under one name."""
    from gradengine.op import registry

    named: dict[str, list[str]] = {}
    for op in registry.values():
        if getattr(op, "kernel", None):
            named.setdefault(op.kernel, []).append(op.name)
    functors = set(source.functors())
    assert set(named) == functors, (sorted(set(named) - functors), sorted(functors - set(named)))
    assert all(len(ops) == 1 for ops in named.values()), named


def test_activations_stand_in_the_rows_order() -> None:
    """kernels/activations.cuh lists what ops/activations.py and ops/gates.py list, in one order."""
    from gradengine.ops import activations, gates

    text = inspect.getsource(activations) + inspect.getsource(gates)
    rows = re.findall(r'^    kernel="(\w+)",$', text, re.MULTILINE)
    names = [f.name for f in source.functors().values() if f.header == "activations.cuh"]
    assert len(names) > 20
    assert names == rows


def test_functors_declare_what_the_launch_code_needs() -> None:
    """Arity and parameters are read from the headers; a few known ones prove the reading."""
    found = source.functors()
    assert found["Softplus"].parameters == ("beta", "threshold")
    assert found["Hardtanh"].parameters == ("min_val", "max_val")
    assert found["Atan2"].arity == 2
    assert len(instances.activations()) == 22
    assert emulator.HEADER.is_file()
