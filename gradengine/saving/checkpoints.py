"""Checkpoint: all that a training run needs to go on, bit for bit, in one file.

A checkpoint holds the state of each part it was given (model, optimiser, schedule, loader, scaler,
average, whatever has `state_dict`), the step, and the states of the random generators. Each is one
safetensors file that is there whole or not at all, so that a run may be killed at any moment; the
newest is found by the names of the files, there is no pointer that could be wrong.

Floor 6: stands on tensors.py, files.py and philox.py.
"""

from __future__ import annotations

import operator
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, DTypeError, OutOfRangeError, hinted
from ..files import MissingDataError, sweep
from ..philox import default_generator
from .tensors import load, save

NAME = re.compile(r"step-(\d{12,})\.safetensors")
FORMAT = "gradengine.checkpoint"
PAIRS = (("state_dict", "load_state_dict"), ("get_state", "set_state"))


class Checkpoint:
    """Saves and restores `parts`, each by its keyword, in a folder of numbered files.

    `path` is a folder, made at the first save; `keep_last=n` keeps the newest n files in it. A path
    that ends in `.safetensors` is one file, written anew each time. A part has `state_dict` and
    `load_state_dict`, or is a Generator. `ge.random`'s default generator is always included,
    Python's `random` and NumPy's global generator if asked for. One process writes to a folder.

    >>> import tempfile
    >>> import gradengine as ge
    >>> from gradengine import nn, optim
    >>> model = nn.Linear(2, 1)
    >>> optimizer = optim.Adam(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(folder, model=model, optimizer=optimizer, keep_last=2)
    ...     for step in (10, 20, 30):
    ...         _ = checkpoint.save(step, loss=1 / step)
    ...     print(checkpoint.steps(), checkpoint.restore())
    [20, 30] {'step': 30, 'loss': 0.03333333333333333}
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep_last: int | None = None,
        python_random: bool = False,
        numpy_random: bool = False,
        **parts: Any,
    ) -> None:
        self.path, self.keep_last, self.parts = Path(path), keep_last, parts
        self.is_file = self.path.suffix == ".safetensors"
        if keep_last is not None and (keep_last < 1 or self.is_file):
            text = f"Checkpoint: keep_last={keep_last} of {self.path}"
            raise OutOfRangeError(hinted(text, "at least 1, and a folder to keep them in"))
        if not self.is_file and self.path.is_file():
            text = f"{self.path}: is a file"
            raise DataError(hinted(text, "give a folder, or a file name ending in .safetensors"))
        for name, part in parts.items():
            _methods(name, part)
        self._random: dict[str, Any] = {"gradengine": default_generator}
        if python_random:
            self._random["python"] = _PythonRandom()
        if numpy_random:
            self._random["numpy"] = _NumPyRandom()

    # --- which there are ---

    def steps(self) -> list[int]:
        """The steps of the checkpoints in the folder, the newest last."""
        if self.is_file or not self.path.is_dir():
            return []
        found = (NAME.fullmatch(entry.name) for entry in self.path.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def latest(self) -> Path | None:
        """The newest file, None before the first save."""
        if self.is_file:
            return self.path if self.path.exists() else None
        steps = self.steps()
        return self._file(steps[-1]) if steps else None

    def _file(self, step: int) -> Path:
        return self.path if self.is_file else self.path / f"step-{step:012d}.safetensors"

    # --- out ---

    def save(self, step: int, **extra: Any) -> Path:
        """Write the state of all parts as of `step`, with what `extra` names; returns the file.

        It is on the disk when this returns; only then are files beyond `keep_last` removed. Raises
        DataError where the folder holds a later step: that is another run's, or was left behind
        when an earlier one was restored.
        """
        step = _checked(step)
        if not self.is_file:
            self.path.mkdir(parents=True, exist_ok=True)
            sweep(self.path, NAME)
            later = [n for n in self.steps() if n > step]
            if later:
                text = f"{self.path}: save(step={step}), but step {later[-1]} is there already"
                hint = "restore() from it first, give a folder of its own, or delete the later ones"
                raise DataError(hinted(text, hint))
        state = {
            "format": FORMAT,
            "step": step,
            "extra": extra,
            "parts": {name: _state(name, part) for name, part in self.parts.items()},
            "random": {name: _state(name, part) for name, part in self._random.items()},
        }
        file = self._file(step)
        save(state, file)
        if self.keep_last is not None:
            for old in self.steps()[: -self.keep_last]:
                self._file(old).unlink(missing_ok=True)
        return file

    # --- in ---

    def restore(self, step: int | None = None) -> dict[str, Any]:
        """Give every part its state of `step` (default: the newest); {"step": step, **extra}.

        The file is read and checked whole before anything changes, and where one part refuses its
        state, those before it get back what they had. Raises DataError for a file that is missing,
        damaged, or holds other parts, and what a part's `load_state_dict` raises.
        """
        file = self._chosen(step)
        found = _read(file)
        states = found["parts"]
        if states.keys() != self.parts.keys():
            missing = sorted(states.keys() - self.parts.keys())
            absent = sorted(self.parts.keys() - states.keys())
            text = f"{file}: holds the parts {sorted(states)}, this Checkpoint {sorted(self.parts)}"
            hint = (
                f"leave out {absent}" if absent else f"give {', '.join(f'{n}=' for n in missing)}"
            )
            raise DataError(hinted(text, hint))
        for name in self._random.keys() - found["random"].keys():
            text = f"{file}: holds no state of {name}'s random numbers"
            raise DataError(hinted(text, f"Checkpoint(..., {name}_random=False)"))
        _load_all(self.parts, states)
        for name, part in self._random.items():
            _load(name, part, found["random"][name])
        return {"step": found["step"], **found["extra"]}

    def _chosen(self, step: int | None) -> Path:
        file = self.latest() if step is None or self.is_file else self._file(_checked(step))
        if file is None or not file.exists():
            which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            steps = self.steps()
            hint = f"there are steps {steps}" if steps else "save one first; steps() is empty then"
            raise MissingDataError(hinted(f"{self.path}: {which}", hint))
        return file


def _checked(step: int) -> int:
    try:
        number = operator.index(step)
    except TypeError:
        text = f"Checkpoint: step {step!r} is no integer"
        raise DTypeError(hinted(text, "save(step, loss=...)")) from None
    if number < 0:
        raise OutOfRangeError(hinted(f"Checkpoint: step {number}", "count from 0"))
    return number


def _read(file: Path) -> dict[str, Any]:
    found = load(file)
    if not isinstance(found, dict) or found.get("format") != FORMAT:  # pyright: ignore[reportUnknownMemberType]
        hint = "load it with ge.load(path); model.load_state_dict(state) takes weights"
        raise DataError(hinted(f"{file}: no checkpoint, but a file of other contents", hint))
    return found  # pyright: ignore[reportUnknownVariableType]


# --- parts ---


def _methods(name: str, part: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """How a part tells its state and takes it."""
    for out, into in PAIRS:
        if callable(getattr(part, out, None)) and callable(getattr(part, into, None)):
            return getattr(part, out), getattr(part, into)
    text = f"Checkpoint: {name} is a {type(part).__name__} without a state"
    hint = "parts have state_dict and load_state_dict; plain values go into save(step, name=value)"
    raise DTypeError(hinted(text, hint))


def _state(name: str, part: Any) -> Any:
    return _methods(name, part)[0]()


def _load(name: str, part: Any, state: Any) -> None:
    _methods(name, part)[1](state)


def _load_all(parts: dict[str, Any], states: dict[str, Any]) -> None:
    """Load every part, or none."""
    before: dict[str, Any] = {}
    for name, part in parts.items():
        before[name] = _state(name, part)
        try:
            _load(name, part, states[name])
        except Exception as error:
            stuck = [
                changed for changed in before if not _put_back(parts[changed], before[changed])
            ]
            rest = f"{stuck} could not be put back" if stuck else "nothing has changed"
            error.add_note(f"while restoring {name!r} from a checkpoint; {rest}")
            raise


def _put_back(part: Any, state: Any) -> bool:
    """Whether a part has its own state again; the one that refused may have begun to change."""
    try:
        _load("part", part, state)
    except Exception:  # another error is on its way, and will say so
        return False
    return True


# --- the random numbers of others ---


class _PythonRandom:
    """The module `random`."""

    def get_state(self) -> Any:
        return random.getstate()

    def set_state(self, state: Any) -> None:
        random.setstate(state)


class _NumPyRandom:
    """NumPy's global generator, `np.random.rand` and its like."""

    def get_state(self) -> Any:
        return np.random.get_state(legacy=True)  # noqa: NPY002

    def set_state(self, state: Any) -> None:
        np.random.set_state(state)  # noqa: NPY002
