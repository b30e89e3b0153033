"""Text as numbers, character by character: what language models of letters learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradengine.errors import DataError, OutOfRangeError, hinted
from gradengine.files import MissingDataError

Array = Any


@dataclass(frozen=True)
class Vocabulary:
    """The distinct characters of a text in order of their code points; a token is a place in it.

    >>> letters = Vocabulary.of("hello")
    >>> letters.encode("hole"), letters.decode([1, 0, 2, 2])
    (array([1, 3, 2, 0]), 'hell')
    """

    characters: str

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """Of all characters in `text`."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Array:
        """The int64 tokens of `text`; a character that is not in the vocabulary is named."""
        places = {character: i for i, character in enumerate(self.characters)}
        found: Array = np.fromiter((places.get(x, -1) for x in text), np.int64, len(text))
        if found.size and found.min() < 0:
            place = int(found.argmin())
            message = f"encode: {text[place]!r} at {place} is none of the {len(self)} characters"
            raise OutOfRangeError(hinted(message, "make the vocabulary of all the text"))
        return found

    def decode(self, tokens: Any) -> str:
        """The text of tokens (an array, tensor or list)."""
        places: Array = np.asarray(getattr(tokens, "array", tokens)).astype(np.int64).reshape(-1)
        if places.size and not (places.min() >= 0 and places.max() < len(self)):
            message = f"decode: tokens from {places.min()} to {places.max()}"
            raise OutOfRangeError(hinted(message, f"tokens lie in 0 ... {len(self) - 1}"))
        return "".join(map(self.characters.__getitem__, places.tolist()))


@dataclass(frozen=True)
class Text:
    """A text with its vocabulary."""

    name: str
    text: str
    vocabulary: Vocabulary
    licence: str = ""

    def __len__(self) -> int:
        return len(self.text)

    def __repr__(self) -> str:
        return f"Text({self.name!r}, {len(self)} characters, {len(self.vocabulary)} distinct)"

    def split(self, validation: float = 0.1) -> tuple[Array, Array]:
        """The tokens as (train, validation): the last share is held out, in one piece."""
        if not 0 < validation < 1:
            message = f"split: validation={validation}"
            raise OutOfRangeError(hinted(message, "give a share between 0 and 1"))
        tokens = self.vocabulary.encode(self.text)
        cut = len(tokens) - round(validation * len(tokens))
        return tokens[:cut], tokens[cut:]


def as_text(name: str, text: str, licence: str = "") -> Text:
    """`text` with the vocabulary of its own characters."""
    if not text:
        raise DataError(hinted(f"{name}: no text in it", "is this the right file?"))
    return Text(name, text, Vocabulary.of(text), licence)


def read_text(path: str | Path, encoding: str = "utf-8") -> Text:
    """The text in a file; line ends become "\\n", a byte-order mark is dropped.

    Raises DataError for a file that is missing, empty or not in `encoding`.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MissingDataError(hinted(f"{path}: {what}", "give the path of a text file"))
    raw = path.read_bytes()
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = f"{path}: line {line}: byte 0x{raw[error.start]:02x} is not {encoding}"
        raise DataError(hinted(message, "give encoding=, 'latin-1' for example")) from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return as_text(path.name, text)
