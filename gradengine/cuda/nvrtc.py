"""NVRTC through ctypes: CUDA source in, cubin out, with no driver, no GPU and no CuPy.

The library and the CUDA headers are looked for in the pip wheels (`nvidia-cuda-nvrtc`,
`nvidia-cuda-runtime`, which CuPy's `[ctk]` extra brings too), then in `$CUDA_HOME`, then on the
system. Stands on the standard library alone; errors name the pip line that helps.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import MissingDependencyError, hinted

__all__ = [
    "Compiled",
    "NvrtcError",
    "NvrtcMissing",
    "compile_cubin",
    "include_directories",
    "version",
]

REMEDY = "pip install 'cupy-cuda13x[ctk]', or nvidia-cuda-nvrtc and nvidia-cuda-runtime"


class NvrtcMissing(MissingDependencyError):
    """The NVRTC library or the CUDA headers are not on this machine."""


class NvrtcError(RuntimeError):
    """NVRTC refused a program; `log` holds what it said."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(f"{message}\n{log}".rstrip())
        self.log = log


@dataclass(frozen=True)
class Compiled:
    """A cubin, the mangled name of each requested kernel, and the compiler's log."""

    cubin: bytes
    names: dict[str, str]
    log: str


# --- finding the library and the headers ---------------------------------------------------------


def _roots() -> Iterable[Path]:
    """Folders that may hold a CUDA `include` and `lib`, the pip wheels first."""
    for entry in sys.path:
        nvidia = Path(entry or ".") / "nvidia"
        yield nvidia / "cu13"
        yield nvidia / "cuda_nvrtc"
        yield nvidia / "cuda_runtime"
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])
    yield Path("/usr/local/cuda")


@lru_cache(maxsize=1)
def include_directories() -> tuple[str, ...]:
    """Folders of the CUDA headers (`cuda_fp16.h`), its CCCL part beside them if it is there."""
    for root in _roots():
        include = root / "include"
        if (include / "cuda_fp16.h").is_file():
            cccl = include / "cccl"
            return (str(include), str(cccl)) if cccl.is_dir() else (str(include),)
    raise NvrtcMissing(hinted("kernels: the CUDA headers (cuda_fp16.h) were not found", REMEDY))


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    for root in _roots():
        for folder in ("lib", "lib64", "bin"):
            for path in sorted((root / folder).glob("libnvrtc.so.*")):
                # NVRTC opens its built-ins by bare name; in a wheel they are found only once
                # loaded.
                for builtins in sorted(path.parent.glob("libnvrtc-builtins.so.*")):
                    ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
                return ctypes.CDLL(str(path))
    for name in ("libnvrtc.so.13", "libnvrtc.so.12", "nvrtc64_130_0.dll", "nvrtc64_120_0.dll"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise NvrtcMissing(hinted("kernels: the NVRTC library was not found", REMEDY))


@lru_cache(maxsize=1)
def version() -> tuple[int, int]:
    """NVRTC's (major, minor)."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return major.value, minor.value


# --- compiling -----------------------------------------------------------------------------------


def _check(code: int, log: str = "") -> None:
    if code:
        text = _library().nvrtcGetErrorString
        text.restype = ctypes.c_char_p
        raise NvrtcError((text(code) or b"NVRTC error").decode(), log)


def _fetch(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(_library(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(_library(), f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def compile_cubin(
    source: str,
    names: Sequence[str],
    arch: str,
    options: Sequence[str] = (),
    title: str = "kernels.cu",
) -> Compiled:
    """Compile `source` for `arch` (as in "sm_90"), instantiating the kernels `names`.

    Raises NvrtcError with the compiler's log, NvrtcMissing where there is no NVRTC.
    """
    library, program = _library(), ctypes.c_void_p()
    _check(
        library.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), title.encode(), 0, None, None
        )
    )
    try:
        for name in names:
            _check(library.nvrtcAddNameExpression(program, name.encode()))
        flags = [
            f"-arch={arch}",
            "-std=c++17",
            *(f"-I{i}" for i in include_directories()),
            *options,
        ]
        argv = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        code = library.nvrtcCompileProgram(program, len(flags), argv)
        log = _fetch(program, "ProgramLog").rstrip(b"\0\n").decode(errors="replace")
        _check(code, log)
        lowered: dict[str, str] = {}
        for name in names:
            text = ctypes.c_char_p()
            _check(library.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(text)))
            lowered[name] = (text.value or b"").decode()
        return Compiled(_fetch(program, "CUBIN"), lowered, log)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))
