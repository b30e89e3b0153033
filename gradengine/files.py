"""Files that are missing, and files that are there whole or not at all: written beside their place,
then renamed into it.

A process may be killed, or the disk be full, at any moment: whoever opens the path finds the old
contents or the new ones, never a part. What a killed process leaves is a file with a dot in front
and `.tmp` behind, which `sweep` removes.

Floor 0: stands on errors.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DataError, hinted

TEMPORARY = re.compile(r"\.(?P<stem>.+)\.(?P<host>[\w-]+)\.(?P<pid>\d+)\.[0-9a-f]{8}\.tmp")
POSIX = os.name == "posix"


class MissingDataError(DataError, FileNotFoundError):
    """A data file or folder is not there."""


# --- writing whole files ---


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path]:
    """A new empty file to write to; it takes the place of `path` when the block ends well.

    The new file and then its folder are flushed to the disk (fsync) before and after the rename.
    An old file keeps its permissions, a symbolic link is followed. Where the block raises, the
    temporary file is removed and the old one is as it was. Raises MissingDataError for
    a folder that is not there, DataError for a path that is a folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/note") as new:
    ...         _ = new.write_text("whole")
    ...     Path(folder, "note").read_text()
    'whole'
    """
    target = Path(os.path.realpath(path))
    _check(target)
    temporary = target.with_name(_temporary_name(target.name))
    try:
        _make_like(target, temporary)
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _flush_folder(target.parent)


def sweep(folder: str | os.PathLike[str], stem: re.Pattern[str]) -> None:
    """Remove what processes of this machine left when they were killed while writing files whose
    names match `stem`; temporary files of processes that are alive stay.
    """
    if not POSIX:  # a process cannot be asked whether it lives without ending it
        return
    for name in os.listdir(folder):
        found = TEMPORARY.fullmatch(name)
        if found and found["host"] == _host() and stem.fullmatch(found["stem"]):
            pid = int(found["pid"])
            if pid != os.getpid() and not _alive(pid):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))


# --- steps ---


def _check(target: Path) -> None:
    if target.is_dir():
        raise DataError(hinted(f"{target}: is a folder", "give the path of a file"))
    if not target.parent.is_dir():
        hint = f"create it first: os.makedirs({str(target.parent)!r})"
        raise MissingDataError(hinted(f"{target}: its folder does not exist", hint))


def _temporary_name(name: str) -> str:
    return f".{name[:100]}.{_host()}.{os.getpid()}.{os.urandom(4).hex()}.tmp"


def _host() -> str:
    """This machine's name: elsewhere the number of a process says nothing about it."""
    return re.sub(r"[^\w-]", "-", os.uname().nodename if POSIX else "")[:60] or "host"


def _make_like(target: Path, temporary: Path) -> None:
    """An empty file with the permissions of the old one, or those the umask gives."""
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        if POSIX and target.exists():
            os.fchmod(handle, target.stat().st_mode & 0o7777)
    finally:
        os.close(handle)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    """The rename itself reaches the disk with its folder; only POSIX has an fsync of folders."""
    if POSIX:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# --- what a file is instead ---

_TORCH = (
    "pickles run code and are never read; where PyTorch is, convert it: "
    "safetensors.torch.save_file(model.state_dict(), path)"
)
_KINDS = (
    (b"PK\x03\x04", "a zip archive, as torch.save and np.savez write them", _TORCH),
    (b"\x80", "a pickle", _TORCH),
    (b"\x93NUMPY", "an array of NumPy's", "read it with np.load(path, allow_pickle=False)"),
    (b"\x89HDF", "an HDF5 file", "read it with h5py, then ge.save the arrays"),
    (b"version https://git-lfs", "a pointer of git-lfs, not the file", "run: git lfs pull"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first: gunzip"),
    (b"<", "a web page, not the file", "download the file again"),
)


def recognised(start: bytes) -> tuple[str, str] | None:
    """What kind of file begins with `start`, and what to do with it; None if it is not known.

    >>> recognised(b"<!DOCTYPE html>")
    ('a web page, not the file', 'download the file again')
    """
    return next(((kind, hint) for magic, kind, hint in _KINDS if start.startswith(magic)), None)
