"""What this machine has, and what is wrong with its GPU set-up: `gradengine info` and `doctor`.

Three bands: facts (a Machine, gathered without CuPy and without starting CUDA on a device),
judgement (a pure function from Machine to Findings, so that every mishap can be tested with made-up
facts), and the text of both. Stands on the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("numpy", "scipy", "ml_dtypes", "opt_einsum", "safetensors", "tqdm", "matplotlib"),
    *("cuda-pathfinder", "nvidia-cudnn-frontend"),
)
FIRST_DRIVER = {12: "525", 13: "580"}  # Linux driver release that first ran each CUDA major
OLDEST_GPU = {12: (5, 0), 13: (7, 5)}  # compute capability; CUDA 13 left Maxwell, Pascal, Volta

# --- facts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GPU:
    """One CUDA device as the driver describes it."""

    name: str
    capability: tuple[int, int]
    memory: int  # bytes

    def __str__(self) -> str:
        major, minor = self.capability
        return f"{self.name}, sm_{major}{minor}, {self.memory / 2**30:.0f} GiB"


@dataclass(frozen=True)
class Driver:
    """What the CUDA driver library answered; `problem` says why it gave no devices."""

    version: tuple[int, int] | None = None  # highest CUDA version it runs; None: no driver library
    gpus: tuple[GPU, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Machine:
    """The facts a judgement rests on; `packages` maps distribution names to versions."""

    system: str = "Linux"
    python: str = "3.11.0"
    packages: dict[str, str] = field(default_factory=dict[str, str])
    driver: Driver = field(default_factory=Driver)
    kernel_module: str = ""  # version of the NVIDIA kernel module, visible in containers too
    cuda_path: str = ""  # a CUDA toolkit of the system
    environment: dict[str, str] = field(default_factory=dict[str, str])


def inspect_machine() -> Machine:
    """The facts of this machine, in some ten milliseconds; no CUDA context is made."""
    names = ("GRADENGINE_DEVICE", "CUDA_VISIBLE_DEVICES", "CUDA_PATH", "LD_LIBRARY_PATH")
    return Machine(
        system=platform.system(),
        python=platform.python_version(),
        packages=installed_packages(),
        driver=query_driver(load_driver()),
        kernel_module=_kernel_module(),
        cuda_path=_cuda_path(),
        environment={name: os.environ[name] for name in names if name in os.environ},
    )


def installed_packages() -> dict[str, str]:
    """Every installed distribution, names normalised as pip does (PEP 503)."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name: str | None = distribution.metadata["Name"]
        if name:  # a half-removed distribution has none
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return found


def load_driver() -> Any:
    """The driver's library through ctypes, or None."""
    names = ["nvcuda.dll"] if sys.platform == "win32" else ["libcuda.so.1", "libcuda.so"]
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def query_driver(library: Any) -> Driver:
    """Version and devices from a driver library (or a stand-in with the same functions)."""
    if library is None:
        return Driver()
    number = ctypes.c_int(0)
    if library.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return Driver(problem="the driver library does not tell its version")
    version = number.value // 1000, number.value % 1000 // 10
    status = library.cuInit(0)
    if status != 0:
        return Driver(version, problem=_init_problem(status))
    library.cuDeviceGetCount(ctypes.byref(number))
    return Driver(version, tuple(_query_gpu(library, index) for index in range(number.value)))


def _query_gpu(library: Any, index: int) -> GPU:
    device, value = ctypes.c_int(0), ctypes.c_int(0)
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t(0)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, 256, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    capability: list[int] = []
    for attribute in (75, 76):  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return GPU(name.value.decode(errors="replace"), (capability[0], capability[1]), memory.value)


def _init_problem(status: int) -> str:
    known = {
        100: "the driver sees no CUDA device",
        802: "the system's fabric or driver is not ready yet",
        803: "the driver library and the kernel module are of different versions",
        804: "this GPU does not support the forward-compatible driver that was found",
    }
    return known.get(status, "the driver does not start") + f" (cuInit returned {status})"


def _kernel_module() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return ""
    match = re.search(r"\b(\d{3}\.\d+(\.\d+)?)\b", text)
    return match[1] if match else ""


def _cuda_path() -> str:
    for place in (os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if place and Path(place).is_dir():
            return place
    return ""


# --- judgement -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `level` is "ok", "note" or "error"; `remedy` can be pasted."""

    level: str
    text: str
    remedy: str = ""


def examine(machine: Machine) -> list[Finding]:
    """What is right and wrong with the GPU set-up, each mishap with the line that mends it."""
    findings = [*_examine_driver(machine)]
    if machine.driver.version is None or not machine.driver.gpus:
        return [*findings, *_examine_unused_cupy(machine)]
    return [*findings, *_examine_cupy(machine), *_examine_environment(machine)]


def cupy_packages(packages: Iterable[str]) -> list[str]:
    """The installed distributions that bring the module `cupy`; more than one break each other."""
    return sorted(name for name in packages if re.fullmatch(r"cupy(-cuda\d+x?|-rocm-.*)?", name))


def extra_for(driver: Driver) -> int | None:
    """The CUDA major (12 or 13) of the extra that fits driver and GPUs; None if none does."""
    if driver.version is None:
        return None
    weakest = min((gpu.capability for gpu in driver.gpus), default=(99, 0))
    for major in (13, 12):
        if driver.version[0] >= major and weakest >= OLDEST_GPU[major]:
            return major
    return None


def _examine_driver(machine: Machine) -> Iterable[Finding]:
    driver = machine.driver
    if machine.system == "Darwin":
        yield Finding("note", "macOS has no CUDA: gradengine computes on the CPU with NumPy")
    elif driver.version is None and driver.problem:
        yield Finding("error", driver.problem, "reinstall the NVIDIA driver")
    elif driver.version is None and machine.kernel_module:
        yield Finding(
            "error",
            f"the NVIDIA kernel module {machine.kernel_module} runs but libcuda.so.1 is not found: "
            "a container that was started without its GPUs?",
            "docker run --gpus all ...    (with the NVIDIA container toolkit on the host)",
        )
    elif driver.version is None:
        yield Finding("note", "no NVIDIA driver: gradengine computes on the CPU with NumPy")
    elif not driver.gpus:
        yield _no_device(machine)
    elif driver.version < (12, 0):
        yield Finding(
            "error",
            f"the driver runs CUDA {_dotted(driver.version)} at most; gradengine needs 12.0",
            f"install NVIDIA driver {FIRST_DRIVER[12]} or newer",
        )
    else:
        yield Finding("ok", f"driver runs CUDA {_dotted(driver.version)}")
        for index, gpu in enumerate(driver.gpus):
            yield Finding("ok", f"cuda:{index} is {gpu}")


def _no_device(machine: Machine) -> Finding:
    visible = machine.environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and machine.driver.problem.startswith(_init_problem(100)[:24]):
        return Finding(
            "error",
            f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU from this process",
            "unset CUDA_VISIBLE_DEVICES",
        )
    problem = machine.driver.problem or "the driver sees no CUDA device"
    if "(cuInit returned 803)" in problem:
        return Finding("error", problem, "reboot, so that the updated driver is loaded")
    return Finding("error", problem, "nvidia-smi    (tells whether the driver sees the GPU)")


def _examine_unused_cupy(machine: Machine) -> Iterable[Finding]:
    installed = cupy_packages(machine.packages)
    if len(installed) > 1:
        yield _two_at_once(machine, installed)
    elif installed:
        yield Finding("note", f"{installed[0]} is installed but there is no GPU it could use")


def _examine_cupy(machine: Machine) -> Iterable[Finding]:
    installed, wanted = cupy_packages(machine.packages), extra_for(machine.driver)
    if wanted is None:
        if machine.driver.version is not None and machine.driver.version >= (12, 0):
            yield Finding("note", 'no supported CuPy runs on so old a GPU: use device="cpu"')
    elif not installed:
        yield Finding("error", "CuPy is not installed", _install(wanted))
    elif len(installed) > 1:
        yield _two_at_once(machine, installed)
    else:
        yield from _examine_one_cupy(machine, installed[0], wanted)


def several_cupys() -> Finding | None:
    """The finding about this machine's CuPy packages if there are several, else None."""
    machine = Machine(packages=installed_packages(), driver=query_driver(load_driver()))
    installed = cupy_packages(machine.packages)
    return _two_at_once(machine, installed) if len(installed) > 1 else None


def _examine_one_cupy(machine: Machine, name: str, wanted: int) -> Iterable[Finding]:
    version = machine.packages[name]
    match = re.fullmatch(r"cupy-cuda(\d\d)x?\d?", name)
    major = int(match[1]) if match else None
    replace = f"python -m pip uninstall -y {name} && {_install(wanted)}"
    if name.startswith("cupy-rocm"):
        yield Finding("error", f"{name} is for AMD GPUs, this one is NVIDIA's", replace)
    elif major is None:
        yield Finding("note", f"cupy {version} was built from source; the wheel is safer", replace)
        yield from _examine_toolkit(machine, wanted)
    elif major not in FIRST_DRIVER:
        yield Finding("error", f"{name} is for a CUDA that gradengine does not support", replace)
    elif major > wanted:
        yield Finding("error", _too_new(machine, name, major), replace)
    elif _release(version) < (14,):
        upgrade = f'python -m pip install --upgrade "{name}[ctk]>=14"'
        yield Finding("error", f"{name} {version} is too old, gradengine needs 14", upgrade)
    else:
        yield Finding("ok", f"{name} {version}")
        yield from _examine_toolkit(machine, major)


def _too_new(machine: Machine, name: str, major: int) -> str:
    version = machine.driver.version or (0, 0)
    if version[0] < major:
        return (
            f"{name} needs a driver for CUDA {major} (release {FIRST_DRIVER[major]}), "
            f"this one runs CUDA {_dotted(version)} at most"
        )
    weakest = min(machine.driver.gpus, key=lambda gpu: gpu.capability)
    return f"{name} does not run on {weakest}: CUDA {major} left GPUs that old"


def _examine_toolkit(machine: Machine, major: int) -> Iterable[Finding]:
    wheel = "nvidia-cuda-nvrtc" + ("-cu12" if major == 12 else "")
    if wheel in machine.packages:
        yield Finding("ok", f"NVRTC {machine.packages[wheel]} (wheel {wheel})")
    elif machine.cuda_path:
        yield Finding("note", f"NVRTC is taken from the toolkit in {machine.cuda_path}")
    else:
        yield Finding(
            "error",
            f"NVRTC, which compiles our kernels, is missing: CuPy came without [ctk], so {wheel} "
            "is not there, and the system has no CUDA toolkit",
            _install(major),
        )
    nccl = f"nvidia-nccl-cu{major}"
    if len(machine.driver.gpus) > 1 and nccl not in machine.packages:
        line = f"python -m pip install {nccl}"
        yield Finding("note", "several GPUs, but NCCL is missing: no training across them", line)


def _examine_environment(machine: Machine) -> Iterable[Finding]:
    wish = machine.environment.get("GRADENGINE_DEVICE", "")
    if wish == "cpu":
        yield Finding(
            "note", "GRADENGINE_DEVICE=cpu keeps everything off the GPU", "unset GRADENGINE_DEVICE"
        )
    match = re.fullmatch(r"(?:cuda|gpu):(\d+)", wish)
    if match and int(match[1]) >= len(machine.driver.gpus):
        yield Finding(
            "error",
            f"GRADENGINE_DEVICE={wish}, but this machine has {len(machine.driver.gpus)} GPU(s)",
            "export GRADENGINE_DEVICE=cuda:0",
        )


def _two_at_once(machine: Machine, installed: list[str]) -> Finding:
    names = " ".join(installed)
    wanted = extra_for(machine.driver)
    again = f" && {_install(wanted)}" if wanted else ""
    return Finding(
        "error",
        f"{len(installed)} packages bring the module cupy and overwrite each other: {names}",
        f"python -m pip uninstall -y {names}{again}",
    )


def _install(major: int) -> str:
    return f'python -m pip install "gradengine[cuda{major}]"'


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


# --- text ----------------------------------------------------------------------------------------


def info(machine: Machine, version: str, kernel_cache: str) -> str:
    """The block one pastes into a bug report."""
    packages, driver = machine.packages, machine.driver
    rows = [("gradengine", version), ("python", f"{machine.python}, {machine.system}")]
    rows += [("machine", f"{platform.machine()}, {os.cpu_count()} CPU cores")]
    rows += [
        (name, packages.get(name.replace("_", "-"), "not installed"))
        for name in LIBRARIES
        if name.replace("_", "-") in packages or "-" not in name
    ]
    cupy = [f"{name} {packages[name]}" for name in cupy_packages(packages)]
    rows += [("cupy", ", ".join(cupy) or "not installed")]
    nvidia = sorted(name for name in packages if name.startswith("nvidia-"))
    rows += [(name, packages[name]) for name in nvidia if name not in LIBRARIES]
    if driver.version:
        rows += [("driver", f"CUDA {_dotted(driver.version)} {machine.kernel_module}".strip())]
    else:
        rows += [("driver", driver.problem or "none")]
    rows += [(f"cuda:{index}", str(gpu)) for index, gpu in enumerate(driver.gpus)]
    rows += [("kernel cache", kernel_cache)]
    rows += sorted(machine.environment.items())
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def report(findings: Iterable[Finding]) -> str:
    """The doctor's text: one line a finding, the remedy indented below it."""
    marks = {"ok": "  ok  ", "note": " note ", "error": "ERROR "}
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{marks[finding.level]} {finding.text}")
        if finding.remedy:
            lines.append(f"        -> {finding.remedy}")
    return "\n".join(lines)
