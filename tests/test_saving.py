"""ge.save and ge.load: what goes in comes out; what is no whole file is named, never read."""

from __future__ import annotations

import math
import os
import stat
import threading
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from identical import identical

import gradengine as ge
from gradengine.errors import DataError, DTypeError
from gradengine.files import replacing, sweep
from gradengine.saving import load, save

NAMES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 bfloat16 "
    "complex64 complex128"
)


def again(obj: Any, folder: Path, **options: Any) -> Any:
    save(obj, folder / "file.safetensors")
    return load(folder / "file.safetensors", **options)


# --- what goes in comes out ---


@pytest.mark.parametrize("name", NAMES.split())
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)])
def test_every_dtype_and_shape(tmp_path: Path, name: str, shape: tuple[int, ...]):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    values = np.asarray(np.arange(math.prod(shape)).reshape(shape) % 7 - 2)
    array = np.asarray(values.astype(dtype))
    if array.dtype.kind == "c":
        array = np.asarray(array * (1 + 2j)).astype(dtype)
    identical(again({"x": array}, tmp_path), {"x": array})
    if array.dtype.kind != "c":
        identical(again(ge.tensor(array), tmp_path), ge.tensor(array))


def test_special_values_keep_their_bits(tmp_path: Path):
    words = np.array([0x7FC00001, 0xFFC00000, 0x7F800000, 0x80000000, 1], np.uint32)
    array = words.view(np.float32)
    assert again(array, tmp_path).view(np.uint32).tolist() == words.tolist()


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.T,
        lambda x: x[::2, 1:],
        lambda x: x[:, ::-1],
        lambda x: np.asfortranarray(x),
        lambda x: np.broadcast_to(x[0], (3, 6)),
        lambda x: x.astype(">f8"),
        lambda x: x.reshape(2, 3, 4)[:, 1],
    ],
)
def test_layouts_do_not_matter(tmp_path: Path, view: Any):
    x = view(np.arange(24.0).reshape(4, 6))
    got = again({"x": x}, tmp_path)["x"]
    np.testing.assert_array_equal(got, x)
    assert got.shape == x.shape
    assert got.dtype == np.float64
    assert got.dtype.isnative
    assert got.flags.writeable


def test_the_transposed_array_that_the_library_stores_wrong(tmp_path: Path):
    """safetensors 0.8.0 takes the bytes of any array as if it were contiguous (its issue 825)."""
    x = np.arange(6.0).reshape(2, 3).T
    path = tmp_path / "x.safetensors"
    try:
        safetensors.numpy.save_file({"x": x}, path)
        theirs = safetensors.numpy.load_file(path)["x"]
    except Exception as refusal:  # a later version may refuse instead
        theirs = refusal
    if safetensors.__version__ == "0.8.0":
        assert not np.array_equal(theirs, x), "0.8.0 is as we know it"
    np.testing.assert_array_equal(again({"x": x}, tmp_path)["x"], x)
    t = ge.tensor([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(again({"x": t.T}, tmp_path)["x"].numpy(), [[1, 3], [2, 4]])


def test_nesting_and_plain_values(tmp_path: Path):
    obj = {
        "none": None, "flags": (True, False), "ints": [0, -1, 2**80], "text": "a\n\"\\\0\u20ac",
        "lone": "\ud800",
        "floats": [0.1, -0.0, math.inf, -math.inf, 5e-324], "z": 1 - 2j, "empty": [{}, [], ()],
        3: {"three": np.float32(3)}, (1, "a"): [[(ge.ones(2), [np.int8(3)])]], True: 1.5, None: 0,
        "": ge.zeros(1), "tensor": ge.ones(1),
    }  # fmt: skip
    identical(again(obj, tmp_path), obj)
    assert math.isnan(again([math.nan], tmp_path)[0])
    for lone in (None, 3, "x", [], {}, (), 2.5):
        identical(again(lone, tmp_path), lone)


def test_kinds_of_containers(tmp_path: Path):
    Pair = namedtuple("Pair", "a b")
    identical(again(OrderedDict(b=1, a=Pair(1, 2)), tmp_path), {"b": 1, "a": (1, 2)})


def test_names_that_would_clash(tmp_path: Path):
    obj = {
        "a.b": ge.tensor(1.0), "a": {"b": ge.tensor(2.0)}, "__metadata__": ge.tensor(3.0),
        1: ge.tensor(4.0), "1": ge.tensor(5.0), "a.b~2": ge.tensor(6.0),
    }  # fmt: skip
    identical(again(obj, tmp_path), obj)


def test_a_shared_tensor_is_stored_once_and_shared_again(tmp_path: Path):
    big = ge.zeros(1000, dtype="float64")
    got = again({"a": big, "b": [big], "c": big.detach()}, tmp_path)
    assert (tmp_path / "file.safetensors").stat().st_size < 8000 + 1000
    assert got["a"] is got["b"][0]
    got["a"].array[0] = 7
    assert got["c"][0].item() == 7


def test_only_values_are_kept(tmp_path: Path):
    w = ge.ones(2, dtype="float64").requires_grad_()
    got = again({"w": w, "y": w * 2}, tmp_path)
    assert not got["w"].requires_grad
    assert got["y"].is_leaf


def test_device(tmp_path: Path):
    assert again(ge.ones(1), tmp_path, device="cpu").device == "cpu"
    with pytest.raises((ge.DeviceError, ValueError), match="nonsense"):
        again(ge.ones(1), tmp_path, device="nonsense")


@pytest.mark.gpu
def test_device_gpu(tmp_path: Path):
    x = ge.arange(6, device="cuda").reshape(2, 3).T
    assert again(x, tmp_path).device == "cpu"
    assert again(x, tmp_path, device="cuda").device == "cuda"
    assert again(np.ones(2), tmp_path, device="cuda").device.id == 0


# --- what cannot be stored ---


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"a": [1, {2, 3}]}, r"obj\['a'\]\[1\] is a set(.|\n)*sorted list"),
        ({"a": b"xy"}, r"obj\['a'\] is a bytes(.|\n)*np.frombuffer"),
        (ge.Generator(0).get_state, "obj is a builtin_function|obj is a method"),
        ({"a": np.array(["x"])}, r"obj\['a'\] has dtype <U1(.|\n)*hint"),
        ({"a": np.array([None])}, "has dtype object"),
        ({"a": np.zeros(2, "f4,f4")}, "has dtype"),
        ({"a": np.zeros(2, "M8[s]")}, "has dtype datetime64"),
        ({frozenset(): 1}, "has the key frozenset"),
        ({(1, np.float32(1)): 1}, "has the key"),
        ({"n": 10**5000}, r"obj\['n'\] is an integer of 16610 bits"),
        ({"\udc80": np.ones(2)}, "no Unicode text"),  # the library would refuse to read it
    ],
)
def test_what_cannot_be_stored_is_named(tmp_path: Path, obj: Any, message: str):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(DTypeError, match=message):
        save(obj, path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_module_is_not_its_state(tmp_path: Path):
    class HasState:
        def state_dict(self) -> dict[str, Any]:
            return {}

    with pytest.raises(DTypeError, match=r"is a HasState(.|\n)*state_dict\(\)"):
        save(HasState(), tmp_path / "file")


def test_cycles_and_depth(tmp_path: Path):
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(DTypeError, match=r"obj\[0\] holds itself"):
        save(ring, tmp_path / "file")
    twice = [1]
    identical(again([twice, twice], tmp_path), [[1], [1]])
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DTypeError, match="nested too deeply"):
        save(deep, tmp_path / "file")


def test_too_many_plain_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gradengine.saving.tensors.HEADER_LIMIT", 1000)
    with pytest.raises(DTypeError, match=r"plain values(.|\n)*np.asarray"):
        save(list(range(1000)), tmp_path / "file")


# --- the file is whole, or the old one ---


def test_written_beside_and_renamed(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    save([1], path)
    os.chmod(path, 0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    save([2], link)
    assert link.is_symlink()
    assert load(path) == [2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path):
    old = os.umask(0o027)
    try:
        save([1], tmp_path / "a")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("failing", ["_write", "fsync", "replace"])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
):
    path = tmp_path / "a"
    save({"x": ge.ones(3)}, path)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            f"gradengine.saving.tensors.{failing}" if failing == "_write" else f"os.{failing}", fail
        )
        with pytest.raises(OSError, match="No space left"):
            save({"x": ge.zeros(3)}, path)
    assert load(path)["x"].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_folder_is_flushed_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    fsync, rename = os.fsync, os.replace

    def flush(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def replace(a: Any, b: Any) -> None:
        done.append("rename")
        rename(a, b)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", replace)
    save([1], tmp_path / "a")
    assert done == ["file", "rename", "folder"]


def test_an_interrupt_removes_the_temporary_file(tmp_path: Path):
    def work() -> None:
        with replacing(tmp_path / "a") as new:
            new.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(tmp_path.iterdir()) == []


def test_sweep_takes_only_what_the_dead_left(tmp_path: Path):
    import re

    with replacing(tmp_path / "a.x") as new:
        dead = new.name.replace(f".{os.getpid()}.", ".999999999.")
        other = dead.replace("a.x", "b.y")
        far = re.sub(r"x\.[\w-]+\.", "x.elsewhere.", dead)
        for name in (dead, other, far):
            (tmp_path / name).write_text("")
        sweep(tmp_path, re.compile(r"a\.x"))
        assert {p.name for p in tmp_path.iterdir()} == {new.name, other, far}


def test_folders(tmp_path: Path):
    with pytest.raises(DataError, match="is a folder"):
        save([1], tmp_path)
    with pytest.raises(FileNotFoundError, match=r"folder does not exist(.|\n)*os.makedirs"):
        save([1], tmp_path / "none" / "a")


def test_threads_that_save_to_one_path(tmp_path: Path):
    def work(n: int) -> None:
        for _ in range(10):
            save({"x": np.full(1000, n)}, tmp_path / "a")
            found = load(tmp_path / "a")["x"]
            assert (found == found[0]).all()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


# --- files of and for others ---


def test_files_of_others_are_dicts_of_tensors(tmp_path: Path):
    arrays = {"b": np.arange(3), "a": np.ones((2, 2), np.float32), "s": np.array(2.0)}
    safetensors.numpy.save_file(arrays, tmp_path / "a", metadata={"format": "pt"})
    got = load(tmp_path / "a")
    assert set(got) == set(arrays)
    for name, array in arrays.items():
        assert isinstance(got[name], ge.Tensor)
        np.testing.assert_array_equal(got[name].numpy(), array)
    safetensors.numpy.save_file({}, tmp_path / "a")
    assert load(tmp_path / "a") == {}


def test_pytorch_reads_ours_and_we_read_theirs(tmp_path: Path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = pytest.importorskip("safetensors.torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    model.half()
    theirs.save_file(model.state_dict(), tmp_path / "a")
    state = load(tmp_path / "a")
    assert set(state) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert state[name].shape == tuple(value.shape)
        np.testing.assert_array_equal(state[name].numpy(), value.numpy())
    state["0.weight"] = state["0.weight"].astype("bfloat16")
    save(state, tmp_path / "b")
    back = theirs.load_file(tmp_path / "b")
    assert back["0.weight"].dtype == torch.bfloat16
    model.load_state_dict(back, strict=True)
    np.testing.assert_array_equal(back["1.bias"].numpy(), state["1.bias"].numpy())


@pytest.mark.parametrize("name", NAMES.split()[:-2])
def test_the_library_reads_what_we_write(tmp_path: Path, name: str):
    """Names, values and metadata, aligned or not, by the format's own reader."""
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    arrays = {"odd": np.ones(3, np.int8), "x": np.arange(5).astype(dtype), "e": np.zeros((0, 2))}
    save(arrays, tmp_path / "a")
    got = safetensors.numpy.load_file(tmp_path / "a")
    assert set(got) == set(arrays)
    for key, array in arrays.items():
        assert got[key].dtype == array.dtype
        np.testing.assert_array_equal(got[key], array)
    whole = (tmp_path / "a").read_bytes()
    assert int.from_bytes(whole[:8], "little") % 8 == 0
