"""CSV files as columns of arrays: numbers as numbers, words as categories, gaps as NaN.

Python's own `csv` splits the fields, so quotes, separators and line ends inside of quotes are
right. What cannot be read is told with the file, the line and the column.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradengine.errors import DataError, OutOfRangeError, hinted
from gradengine.files import MissingDataError

Array = Any
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
KINDS = ("int", "float", "bool", "category", "text")


# --- a table ---


@dataclass(frozen=True)
class Table:
    """Named columns of one length.

    A column of words holds their numbers (int64, -1 where the field was missing), the words
    themselves stand in `categories[column]`.
    """

    name: str
    columns: dict[str, Array]
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    licence: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> Array:
        """The column `name`."""
        if name not in self.columns:
            text = f"{self.name}: no column {name!r}"
            raise OutOfRangeError(hinted(text, f"there are {', '.join(self.columns)}"))
        return self.columns[name]

    def __repr__(self) -> str:
        shown = ", ".join([*self.columns][:8]) + (", ..." if len(self.columns) > 8 else "")
        return f"Table({self.name!r}, {len(self)} rows of {shown})"

    def matrix(self, *names: str, dtype: Any = np.float32) -> Array:
        """The named columns (default: all) side by side, shape (rows, columns)."""
        chosen = [self[name] for name in names or self.columns]
        return np.stack([column.astype(dtype) for column in chosen], axis=1)

    def take(self, indices: Array) -> Table:
        """The rows at `indices`, in that order."""
        return replace(self, columns={k: v[indices] for k, v in self.columns.items()})

    def split(self, held_out: float = 0.2, seed: int = 0) -> tuple[Table, Table]:
        """Shuffle with `seed` and part into (train, test); `held_out` is the share of the test."""
        if not 0 < held_out < 1:
            text = f"split: held_out={held_out}"
            raise OutOfRangeError(hinted(text, "give a share between 0 and 1"))
        order = np.random.default_rng(seed).permutation(len(self))
        cut = round(held_out * len(self))
        return self.take(order[cut:]), self.take(order[:cut])


# --- reading ---


def read_csv(
    path: str | Path,
    *,
    header: bool = True,
    names: Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    delimiter: str = ",",
    missing: Sequence[str] = MISSING,
    skip: int = 0,
    encoding: str = "utf-8-sig",
) -> Table:
    """The table in a CSV file, gzipped or not.

    The first line names the columns, unless `names` does or `header=False` (then "0", "1", ...);
    `skip` lines before it are passed over. A column is int64 if all its fields are integers,
    float64 if all are numbers or `missing` (NaN), bool if all are true or false, else a category,
    numbered by first appearance; `kinds={"zip": "category"}` chooses instead ("int", "float",
    "bool", "category", or "text" for the strings themselves).
    Raises DataError, with file, line and column, for rows of unequal length, fields that are not
    what `kinds` says, broken quotes, and bytes that are not of `encoding`.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile(suffix=".csv") as file:
    ...     _ = file.write(b'city,"t, max",n\\nRome,31.5,2\\nOslo,,3\\nRome,30,1\\n')
    ...     file.flush()
    ...     table = read_csv(file.name)
    >>> table["t, max"], table["n"]
    (array([31.5,  nan, 30. ]), array([2, 3, 1]))
    >>> table["city"], table.categories
    (array([0, 1, 0]), {'city': ('Rome', 'Oslo')})
    """
    path = Path(path)
    rows, lines = _rows(path, _text(path, encoding), delimiter, skip)
    titles = _titles(path, rows, lines, header, names)
    if header:
        del rows[:1], lines[:1]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(titles):
            text = f"{path}: line {line} has {len(row)} fields, the table {len(titles)} columns"
            raise DataError(hinted(text, "is delimiter= right, and are separators quoted?"))
    reader = _Columns(path, lines, frozenset(missing), dict(kinds or {}))
    if unknown := [name for name in reader.kinds if name not in titles]:
        text = f"{path}: kinds names {unknown}"
        raise DataError(hinted(text, f"the columns are {titles}"))
    found = {name: reader.read(name, [row[i] for row in rows]) for i, name in enumerate(titles)}
    return Table(path.name, found, reader.categories)


def _text(path: Path, encoding: str) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise MissingDataError(hinted(f"{path}: {what}", "give the path of a file"))
    raw = path.read_bytes()
    try:
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        text = f"{path}: line {line}: byte 0x{raw[error.start]:02x} is not {encoding}"
        raise DataError(hinted(text, "give encoding=, 'latin-1' for example")) from error
    except (OSError, EOFError, zlib.error) as error:
        text = f"{path}: truncated or corrupt gzip stream ({error})"
        raise DataError(hinted(text, "fetch the file again")) from error


def _rows(path: Path, text: str, delimiter: str, skip: int) -> tuple[list[list[str]], list[int]]:
    """The rows that are not blank, and the line each ends on."""
    source = io.StringIO(text, newline="")
    for _ in range(skip):  # as lines, not as rows: a quote in a comment opens nothing
        source.readline()
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(skip + reader.line_num)
    except csv.Error as error:
        text = f"{path}: line {skip + reader.line_num}: {error}"
        raise DataError(
            hinted(text, "is a quote left open, or one inside a field not doubled?")
        ) from error
    if not rows:
        raise DataError(hinted(f"{path}: no rows in it", "is this the right file?"))
    return rows, lines


def _titles(
    path: Path,
    rows: list[list[str]],
    lines: list[int],
    header: bool,
    names: Sequence[str] | None,
) -> list[str]:
    first = rows[0]
    titles = [x.strip() for x in first] if header else [str(i) for i in range(len(first))]
    if names is not None:
        if len(names) != len(titles):
            text = f"{path}: {len(names)} names for {len(titles)} columns"
            raise DataError(hinted(text, "name every column"))
        titles = list(names)
    if twice := sorted({x for x in titles if titles.count(x) > 1}):
        text = f"{path}: line {lines[0]}: two columns are named {twice[0]!r}"
        raise DataError(hinted(text, "give names="))
    return titles


# --- columns ---


class _Columns:
    """Turns the fields of a column into an array."""

    def __init__(
        self, path: Path, lines: list[int], missing: frozenset[str], kinds: dict[str, str]
    ) -> None:
        self.path, self.lines, self.missing, self.kinds = path, lines, missing, kinds
        self.categories: dict[str, tuple[str, ...]] = {}

    def read(self, name: str, fields: list[str]) -> Array:
        fields = [x.strip() for x in fields]
        kind = self.kinds.get(name)
        if kind is None:
            return self._inferred(name, fields)
        if kind == "text":
            return np.array(fields)
        if kind == "category":
            return self._category(name, fields)
        if kind not in KINDS:
            text = f"{self.path}: kind {kind!r} of column {name!r}"
            raise DataError(hinted(text, f"kinds are {', '.join(KINDS)}"))
        return self._parsed(name, fields, kind)

    def _inferred(self, name: str, fields: list[str]) -> Array:
        for kind in ("int", "float", "bool"):
            try:
                return self._parsed(name, fields, kind)
            except DataError:
                continue
        return self._category(name, fields)

    def _parsed(self, name: str, fields: list[str], kind: str) -> Array:
        parse: Callable[[str], Any] = {"int": _int, "float": _float, "bool": _bool}[kind]
        gaps = kind == "float"
        values: list[Any] = []
        for line, x in zip(self.lines, fields, strict=True):
            try:
                values.append(np.nan if gaps and x in self.missing else parse(x))
            except ValueError:
                text = f"{self.path}: line {line}, column {name!r}: {x!r} is no {kind}"
                hint = "mend the field, add it to missing=, or choose kinds={column: 'category'}"
                raise DataError(hinted(text, hint)) from None
        return np.array(values, {"int": np.int64, "float": np.float64, "bool": np.bool_}[kind])

    def _category(self, name: str, fields: list[str]) -> Array:
        numbers: dict[str, int] = {}
        codes = [-1 if x in self.missing else numbers.setdefault(x, len(numbers)) for x in fields]
        self.categories[name] = tuple(numbers)
        return np.array(codes, np.int64)


def _int(x: str) -> int:
    number = int(x)
    if "_" in x or not -(1 << 63) <= number < 1 << 63:
        raise ValueError
    return number


def _float(x: str) -> float:
    if "_" in x:
        raise ValueError
    return float(x)


def _bool(x: str) -> bool:
    if x.lower() not in ("true", "false"):
        raise ValueError
    return x.lower() == "true"
