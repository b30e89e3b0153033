"""What is wrong with a file that should be safetensors: named, with which promise it breaks.

Floor 0: stands on errors.py and files.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import DataError, hinted
from ..files import MissingDataError, recognised

HEADER_LIMIT = 100_000_000  # bytes; what every reader of the format accepts
AGAIN = "take another copy of the file; this one is not what was written"


def check_file(path: Path) -> None:
    if path.is_dir():
        hint = "give the file; ge.Checkpoint(folder, ...).restore() finds the newest in a folder"
        raise MissingDataError(hinted(f"{path}: is a folder", hint))
    if not path.is_file():
        raise MissingDataError(hinted(f"{path}: does not exist", "give the path of a saved file"))


def corrupt(path: Path, what: str) -> DataError:
    return DataError(hinted(f"{path}: corrupt: {what}", AGAIN))


def explained(path: Path, error: str) -> DataError:
    """What the file is instead, or which promise of its header it breaks."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
        size = path.stat().st_size
    except OSError as problem:
        return DataError(hinted(f"{path}: cannot be read: {problem}", "check its permissions"))
    length = int.from_bytes(start[:8], "little")
    known = recognised(start)
    if known is not None and start[8:9] != b"{":
        return DataError(hinted(f"{path}: no safetensors file but {known[0]}", known[1]))
    if size < 8:
        text = f"truncated: {size} bytes, where the length of the header alone takes 8"
    elif length > HEADER_LIMIT:
        text = f"corrupt: it claims a header of {length} bytes; the format allows {HEADER_LIMIT}"
    elif 8 + length > size:
        text = f"truncated: its header takes {length} bytes, the whole file has {size}"
    else:
        text = _broken_promise(path, length, size - 8 - length) or f"corrupt: {error}"
    return DataError(hinted(f"{path}: {text}", AGAIN))


def _broken_promise(path: Path, length: int, present: int) -> str | None:
    """What a header that is there whole has wrong, where that is easily told."""
    with path.open("rb") as file:
        file.seek(8)
        text = file.read(length)
    try:
        header: dict[str, Any] = json.loads(text)
        entries = [value for key, value in header.items() if key != "__metadata__"]
        promised = max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (ValueError, RecursionError, AttributeError):
        return "corrupt: its header is no JSON object"
    except (KeyError, TypeError, IndexError):
        return "corrupt: its header does not say where the values of each array are"
    if present != promised:
        kind = "truncated" if present < promised else "corrupt"
        return f"{kind}: its header promises {promised} bytes of values, {present} are there"
    return None


def check_keys(path: Path, names: list[str]) -> None:
    """A name written twice hides an array; the library takes the last without a word."""
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    try:
        pairs: list[tuple[str, Any]] = json.loads(header, object_pairs_hook=_Pairs)
    except ValueError as error:
        raise corrupt(path, f"its header is no JSON ({error})") from error
    if len([key for key, _ in pairs if key != "__metadata__"]) != len(names):
        raise corrupt(path, "its header names an array twice")


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as the pairs it was written in."""
