"""The doctor on made-up machines: every mishap is found and its remedy is the right line."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import pytest

from gradengine.program.diagnostics import (
    GPU,
    Driver,
    Finding,
    Machine,
    cupy_packages,
    examine,
    extra_for,
    info,
    inspect_machine,
    load_driver,
    query_driver,
    report,
)

H200 = GPU("NVIDIA H200", (9, 0), 141 * 2**30)
V100 = GPU("Tesla V100", (7, 0), 16 * 2**30)
K80 = GPU("Tesla K80", (3, 7), 12 * 2**30)
GOOD = Machine(
    packages={
        "numpy": "2.4.6",
        "cupy-cuda13x": "14.2.0",
        "nvidia-cuda-nvrtc": "13.0.88",
        "nvidia-nccl-cu13": "2.32.3",
    },
    driver=Driver((13, 0), (H200,)),
)


def with_packages(*names: str) -> Machine:
    versions = dict(name.split("==") if "==" in name else (name, "14.2.0") for name in names)
    return replace(GOOD, packages=versions)


def errors(machine: Machine) -> list[Finding]:
    return [finding for finding in examine(machine) if finding.level == "error"]


def the_error(machine: Machine) -> Finding:
    found = errors(machine)
    assert len(found) == 1, found
    return found[0]


# --- judgement -----------------------------------------------------------------------------------


def test_a_good_machine_has_nothing_to_mend():
    findings = examine(GOOD)
    assert [finding.level for finding in findings] == ["ok"] * 4
    assert "NVIDIA H200, sm_90, 141 GiB" in report(findings)


def test_no_gpu_is_no_error():
    for machine in (Machine(), Machine(system="Darwin"), Machine(system="Windows")):
        assert [finding.level for finding in examine(machine)] == ["note"]


@pytest.mark.parametrize(
    ("version", "gpus", "extra"),
    [
        ((13, 0), (H200,), 13),
        ((13, 5), (H200, V100), 12),
        ((12, 4), (H200,), 12),
        ((13, 0), (K80,), None),
        ((11, 8), (H200,), None),
        (None, (), None),
        ((14, 0), (H200,), 13),
    ],
)
def test_the_extra_that_fits(version: tuple[int, int] | None, gpus: tuple[GPU, ...], extra: int):
    assert extra_for(Driver(version, gpus)) == extra


@pytest.mark.parametrize(("version", "extra"), [((12, 2), "cuda12"), ((13, 0), "cuda13")])
def test_cupy_missing(version: tuple[int, int], extra: str):
    found = the_error(Machine(driver=Driver(version, (H200,))))
    assert found.text == "CuPy is not installed"
    assert found.remedy == f'python -m pip install "gradengine[{extra}]"'


def test_two_cupys_at_once():
    found = the_error(with_packages("cupy-cuda12x", "cupy-cuda13x", "nvidia-cuda-nvrtc"))
    assert "cupy-cuda12x cupy-cuda13x" in found.text
    assert found.remedy == (
        "python -m pip uninstall -y cupy-cuda12x cupy-cuda13x "
        '&& python -m pip install "gradengine[cuda13]"'
    )


def test_two_cupys_without_a_gpu_are_told_too():
    machine = replace(with_packages("cupy", "cupy-cuda13x"), driver=Driver())
    assert the_error(machine).remedy == "python -m pip uninstall -y cupy cupy-cuda13x"


def test_driver_too_old_for_the_installed_cupy():
    found = the_error(replace(GOOD, driver=Driver((12, 8), (H200,))))
    assert "needs a driver for CUDA 13 (release 580)" in found.text
    assert found.remedy == (
        'python -m pip uninstall -y cupy-cuda13x && python -m pip install "gradengine[cuda12]"'
    )


def test_gpu_too_old_for_the_installed_cupy():
    found = the_error(replace(GOOD, driver=Driver((13, 0), (V100,))))
    assert "Tesla V100" in found.text
    assert "gradengine[cuda12]" in found.remedy


def test_newer_driver_runs_the_older_cupy():
    machine = with_packages("cupy-cuda12x", "nvidia-cuda-nvrtc-cu12")
    assert not errors(machine)


def test_driver_too_old_for_everything():
    found = the_error(replace(GOOD, driver=Driver((11, 4), (H200,))))
    assert "runs CUDA 11.4 at most" in found.text
    assert "driver 525" in found.remedy


def test_gpu_too_old_for_everything():
    findings = examine(replace(GOOD, driver=Driver((13, 0), (K80,))))
    assert findings[-1].level == "note"
    assert 'device="cpu"' in findings[-1].text


def test_nvrtc_missing():
    found = the_error(with_packages("cupy-cuda13x"))
    assert "came without [ctk]" in found.text
    assert found.remedy == 'python -m pip install "gradengine[cuda13]"'
    found = the_error(with_packages("cupy-cuda12x", "nvidia-cuda-nvrtc"))  # CUDA 13's does not do
    assert "nvidia-cuda-nvrtc-cu12" in found.text
    assert found.remedy == 'python -m pip install "gradengine[cuda12]"'


def test_a_system_toolkit_does_instead_of_the_wheels():
    machine = replace(with_packages("cupy-cuda13x"), cuda_path="/usr/local/cuda")
    assert not errors(machine)
    assert "toolkit in /usr/local/cuda" in report(examine(machine))


@pytest.mark.parametrize("name", ["cupy-cuda11x", "cupy-cuda102", "cupy-rocm-5-0"])
def test_cupy_for_something_else(name: str):
    found = the_error(with_packages(name))
    assert found.remedy == (
        f'python -m pip uninstall -y {name} && python -m pip install "gradengine[cuda13]"'
    )


def test_cupy_from_source_is_a_note():
    findings = examine(with_packages("cupy", "nvidia-cuda-nvrtc"))
    assert not [finding for finding in findings if finding.level == "error"]
    assert "built from source" in report(findings)


def test_cupy_too_old():
    found = the_error(with_packages("cupy-cuda13x==13.6.0", "nvidia-cuda-nvrtc"))
    assert found.remedy == 'python -m pip install --upgrade "cupy-cuda13x[ctk]>=14"'


def test_several_gpus_without_nccl():
    machine = with_packages("cupy-cuda13x", "nvidia-cuda-nvrtc")
    machine = replace(machine, driver=Driver((13, 0), (H200, H200)))
    notes = [finding for finding in examine(machine) if finding.level == "note"]
    assert [note.remedy for note in notes] == ["python -m pip install nvidia-nccl-cu13"]


def test_hidden_gpus():
    machine = replace(
        GOOD,
        driver=Driver((13, 0), problem="the driver sees no CUDA device (cuInit returned 100)"),
        environment={"CUDA_VISIBLE_DEVICES": ""},
    )
    assert the_error(machine).remedy == "unset CUDA_VISIBLE_DEVICES"


def test_mismatched_driver():
    library = FakeDriver(init=803)
    found = the_error(replace(GOOD, driver=query_driver(library)))
    assert "different versions" in found.text
    assert "reboot" in found.remedy


def test_a_container_without_its_gpus():
    found = the_error(Machine(kernel_module="580.65.06"))
    assert "580.65.06" in found.text
    assert "--gpus all" in found.remedy


def test_environment_variables():
    cpu = replace(GOOD, environment={"GRADENGINE_DEVICE": "cpu"})
    assert examine(cpu)[-1].remedy == "unset GRADENGINE_DEVICE"
    assert (
        "has 1 GPU(s)" in the_error(replace(GOOD, environment={"GRADENGINE_DEVICE": "cuda:3"})).text
    )
    assert not errors(replace(GOOD, environment={"GRADENGINE_DEVICE": "cuda:0"}))


# --- facts ---------------------------------------------------------------------------------------


class FakeDriver:
    """Stands in for libcuda: writes through the pointers it is given, as the driver does."""

    def __init__(self, version: int = 13000, init: int = 0, gpus: tuple[GPU, ...] = (H200,)):
        self.version, self.init, self.gpus = version, init, gpus

    def cuDriverGetVersion(self, out: object) -> int:
        out._obj.value = self.version  # type: ignore[attr-defined]
        return 0

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDeviceGetCount(self, out: object) -> int:
        out._obj.value = len(self.gpus)  # type: ignore[attr-defined]
        return 0

    def cuDeviceGet(self, out: object, index: int) -> int:
        out._obj.value = index  # type: ignore[attr-defined]
        return 0

    def cuDeviceGetName(self, out: ctypes.Array, size: int, device: ctypes.c_int) -> int:
        out.value = self.gpus[device.value].name.encode()
        return 0

    def cuDeviceTotalMem_v2(self, out: object, device: ctypes.c_int) -> int:
        out._obj.value = self.gpus[device.value].memory  # type: ignore[attr-defined]
        return 0

    def cuDeviceGetAttribute(self, out: object, attribute: int, device: ctypes.c_int) -> int:
        out._obj.value = self.gpus[device.value].capability[attribute - 75]  # type: ignore[attr-defined]
        return 0


def test_query_driver():
    assert query_driver(None) == Driver()
    assert query_driver(FakeDriver()) == Driver((13, 0), (H200,))
    assert query_driver(FakeDriver(12080, gpus=(H200, V100))) == Driver((12, 8), (H200, V100))
    assert query_driver(FakeDriver(gpus=())) == Driver((13, 0), ())
    without = query_driver(FakeDriver(init=100))
    assert without == Driver((13, 0), (), "the driver sees no CUDA device (cuInit returned 100)")
    assert "cuInit returned 999" in query_driver(FakeDriver(init=999)).problem


def test_cupy_packages():
    names = [
        "cupy",
        "cupy-cuda12x",
        "cupy-xarray",
        "cupyx",
        "numpy",
        "cupy-cuda110",
        "cupy-rocm-4-3",
    ]
    assert cupy_packages(names) == ["cupy", "cupy-cuda110", "cupy-cuda12x", "cupy-rocm-4-3"]


def test_this_machine():
    machine = inspect_machine()
    assert {"numpy", "scipy", "ml-dtypes", "opt-einsum", "safetensors"} <= machine.packages.keys()
    assert (load_driver() is None) == (machine.driver == Driver())
    assert examine(machine)


def test_info_names_what_a_bug_report_needs():
    text = info(GOOD, "1.2.3", "/cache")
    for piece in ("gradengine", "1.2.3", "numpy", "2.4.6", "cupy-cuda13x 14.2.0", "CUDA 13.0"):
        assert piece in text
    assert "NVIDIA H200, sm_90, 141 GiB" in text
    assert "scipy" in text
    assert "not installed" in text
    assert "kernel cache" in text
    assert "/cache" in text
    assert "driver" in info(Machine(), "1", "")
