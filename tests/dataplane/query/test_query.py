"""Queries against a slow interpreter, against SQLite, and page by page under writes."""

import itertools
import sqlite3
from typing import Any

import airportsdata
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents.commands import Delete, Put
from dataplane.documents.values import pack_document
from dataplane.query import Limits, QueryError, QueryTooCostlyError, parse_query, run_query
from tests.dataplane.query import reference
from tests.dataplane.query.database import Database
from tests.dataplane.query.strategies import DOCUMENTS, FILTERS, SORTS, plain


@settings(derandomize=True, deadline=None, max_examples=400)
@given(DOCUMENTS, FILTERS)
def test_filters_agree_with_the_reference(
    documents: list[dict[str, Any]], filter_: dict[str, Any]
) -> None:
    stored = plain(documents)
    expected = [key for key, value in stored.items() if reference.matches(value, filter_)]
    assert Database(stored).ids(filter=filter_) == expected


@settings(derandomize=True, deadline=None, max_examples=100)
@given(DOCUMENTS, SORTS, st.integers(1, 5))
def test_sorted_pages_agree_with_the_reference(
    documents: list[dict[str, Any]], sort: dict[str, int], limit: int
) -> None:
    stored = [{**value, "_id": key} for key, value in plain(documents).items()]
    expected = [document["_id"] for document in reference.ordered(stored, sort)]
    database = Database(plain(documents))
    assert database.all_pages(sort=sort, limit=limit) == expected
    assert database.ids(sort=sort, offset=limit) == expected[limit:]


@pytest.fixture(scope="module")
def airports() -> Database:
    return Database(airportsdata.load("ICAO"))


@pytest.fixture(scope="module")
def sqlite() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    names = list(next(iter(airportsdata.load("ICAO").values())))
    connection.execute(f"create table c (_id, {', '.join(names)})")
    marks = ", ".join("?" * (len(names) + 1))
    rows = [(key, *value.values()) for key, value in airportsdata.load("ICAO").items()]
    connection.executemany(f"insert into c values ({marks})", rows)
    return connection


@pytest.mark.parametrize(
    ("filter_", "where"),
    [
        ({"country": "CH"}, "country = 'CH'"),
        (
            {"country": {"$in": ["CH", "AT"]}, "elevation": {"$gt": 2000}},
            "country in ('CH', 'AT') and elevation > 2000",
        ),
        ({"$or": [{"iata": {"$ne": ""}}, {"lat": {"$lt": -60}}]}, "iata <> '' or lat < -60"),
        (
            {"$nor": [{"country": "US"}, {"elevation": {"$lte": 5000}}]},
            "not (country = 'US' or elevation <= 5000)",
        ),
        ({"name": {"$regex": "^Zur"}}, "name glob 'Zur*'"),
        (
            {"name": {"$regex": "heliport", "$options": "i"}, "country": {"$nin": ["US", "BR"]}},
            "name like '%heliport%' and country not in ('US', 'BR')",
        ),
        ({"elevation": {"$not": {"$gte": 0}}}, "not elevation >= 0"),
        ({"_id": {"$gte": "LS", "$lt": "LT"}}, "_id >= 'LS' and _id < 'LT'"),
        ({"lat": {"$exists": False}}, "lat is null"),
    ],
)
def test_airports_agree_with_sqlite(
    airports: Database, sqlite: sqlite3.Connection, filter_: dict[str, Any], where: str
) -> None:
    for sort, order in [
        ({}, "_id"),
        ({"elevation": -1, "name": 1}, "elevation desc, name, _id"),
        ({"tz": 1, "lat": -1}, "tz, lat desc, _id"),
        ({"_id": -1}, "_id desc"),
    ]:
        query = f"select _id from c where {where} order by {order} limit 1000"
        expected = [row[0] for row in sqlite.execute(query)]
        assert airports.ids(filter=filter_, sort=sort, limit=1000) == expected
        paged = airports.all_pages(filter=filter_, sort=sort, limit=237, most=1000)
        assert paged[:1000] == expected


def test_plans_examine_no_more_than_needed(airports: Database) -> None:
    looked = airports.page(filter={"_id": {"$in": ["LSZH", "EDDF", "nope"]}}, explain=True)
    assert [document["_id"] for document in looked.documents] == ["EDDF", "LSZH"]
    assert looked.plan is not None
    assert (looked.scanned, looked.plan) == (
        2,
        looked.plan
        | {
            "stage": "id_lookup",
            "order": "id_order",
            "ids": 3,
            "keys_examined": 3,
            "documents_examined": 2,
            "returned": 2,
        },
    )
    ranged = airports.page(
        filter={"$and": [{"_id": {"$gt": "LSZ"}}, {"_id": {"$lte": "LSZH"}}]}, explain=True
    )
    assert ranged.plan is not None
    assert ranged.plan["stage"] == "id_range"
    assert ranged.scanned < 50
    first = airports.page(limit=10)
    assert first.scanned == 11
    second = airports.page(limit=10, after=first.next)
    assert second.scanned <= 12
    scan = airports.page(filter={"country": "CH"}, sort={"name": 1}, limit=1, explain=True)
    assert scan.plan is not None
    assert (scan.plan["stage"], scan.plan["order"]) == ("collection_scan", "top_k")
    assert scan.scanned == airports.machine.view.stats().documents


def test_a_costly_query_is_stopped(airports: Database) -> None:
    request = parse_query("c", {"filter": {"country": "none"}})
    with pytest.raises(QueryTooCostlyError):
        run_query(airports.machine.view, request, limits=Limits(documents=100))


@pytest.mark.parametrize("sort", [{}, {"_id": -1}, {"n": 1}, {"n": -1, "m": 1}])
def test_a_cursor_keeps_its_place_under_writes(sort: dict[str, int]) -> None:
    database = Database({f"d{n:02}": {"n": n // 3, "m": n % 2} for n in range(0, 60, 2)})
    stable = database.all_pages(sort=sort, limit=7)
    seen: list[str] = []
    after = None
    for turn in itertools.count():
        page = database.page(sort=sort, limit=7, after=after)
        seen += [document["_id"] for document in page.documents]
        if page.next is None:
            break
        after = page.next
        number = 2 * turn + 1
        database.write(
            Put("c", f"d{number:02}", pack_document({"n": number // 3, "m": 0})),
            Delete("c", seen[-1]),
        )
    assert [key for key in seen if int(key[1:]) % 2 == 0] == stable
    assert len(seen) == len(set(seen))


def test_projection_keeps_paths_and_metadata() -> None:
    database = Database({"x": {"a": {"b": 1, "c": 2}, "l": [{"p": 1, "q": 2}, 3], "z": 0}})
    (document,) = database.page(projection=["a.b", "l.p", "nope"]).documents
    assert document == {
        "_id": "x",
        "_version": 1,
        "_created": "1970-01-01T00:00:01.001000Z",
        "_updated": "1970-01-01T00:00:01.001000Z",
        "a": {"b": 1},
        "l": [{"p": 1}],
    }


def test_metadata_can_be_queried() -> None:
    database = Database({"x": {"a": 1}, "y": {"a": 1}})
    database.write(Put("c", "y", pack_document({"a": 2})))
    assert database.ids(filter={"_version": {"$gt": 1}}) == ["y"]
    assert database.ids(sort={"_version": -1}) == ["y", "x"]
    assert database.ids(filter={"_created": {"$lt": "1970-01-01T00:00:01.002000Z"}}) == ["x", "y"]


def test_an_absent_collection_is_empty() -> None:
    database = Database({})
    page = database.page(filter={"a": 1})
    assert (page.documents, page.next, page.scanned) == ([], None, 0)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"what": 1}, "/what"),
        ({"filter": []}, "/filter"),
        ({"filter": {"$where": "1"}}, "/filter/$where"),
        ({"filter": {"a": {"$near": 1}}}, "/filter/a/$near"),
        ({"filter": {"a": {"$gt": 1, "b": 2}}}, "/filter/a/b"),
        ({"filter": {"a": {"$in": 1}}}, "/filter/a/$in"),
        ({"filter": {"a": {"$in": list(range(1001))}}}, "/filter/a/$in"),
        ({"filter": {"a": {"$regex": "("}}}, "/filter/a/$regex"),
        ({"filter": {"a": {"$regex": "(?=x)"}}}, "/filter/a/$regex"),
        ({"filter": {"a": {"$regex": "x" * 1001}}}, "/filter/a/$regex"),
        ({"filter": {"a": {"$regex": "x", "$options": "q"}}}, "/filter/a/$regex"),
        ({"filter": {"a": {"$options": "i"}}}, "/filter/a/$options"),
        ({"filter": {"a": {"$size": -1}}}, "/filter/a/$size"),
        ({"filter": {"a": {"$exists": 1}}}, "/filter/a/$exists"),
        ({"filter": {"a": {"$type": "date"}}}, "/filter/a/$type"),
        ({"filter": {"a": {"$not": 1}}}, "/filter/a/$not"),
        ({"filter": {"a": {"$elemMatch": 1}}}, "/filter/a/$elemMatch"),
        ({"filter": {"$or": []}}, "/filter/$or"),
        ({"filter": {"$and": [{}, {"$or": [1]}]}}, "/filter/$and/1/$or/0"),
        ({"filter": {"a/b~c": {"$gt": 1, "x": 1}}}, "/filter/a~1b~0c/x"),
        ({"filter": {"a..b": 1}}, "/filter/a..b"),
        ({"sort": [1]}, "/sort"),
        ({"sort": {"a": 2}}, "/sort/a"),
        ({"sort": {"a": True}}, "/sort/a"),
        ({"projection": "a"}, "/projection"),
        ({"projection": ["a", "."]}, "/projection/1"),
        ({"limit": 0}, "/limit"),
        ({"limit": 1001}, "/limit"),
        ({"limit": True}, "/limit"),
        ({"offset": -1}, "/offset"),
        ({"after": 1}, "/after"),
        ({"explain": 1}, "/explain"),
    ],
)
def test_faults_are_named_by_pointer(body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query("c", body)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]


def test_deep_and_wide_filters_are_refused() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(25):
        deep = {"$and": [deep]}
    nots: dict[str, Any] = {"$gt": 1}
    for _ in range(25):
        nots = {"$not": nots}
    wide = {"$or": [{"a": number} for number in range(201)]}
    for filter_ in (deep, wide, {"a": nots}):
        with pytest.raises(QueryError):
            parse_query("c", {"filter": filter_})


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(QueryError) as caught:
        parse_query("c", {"limit": 0, "offset": -1, "filter": {"$x": 1}})
    assert len(caught.value.errors) == 3


@pytest.mark.parametrize("cursor", ["", "!!", "AAAA", "é", "A" * 40])
def test_a_damaged_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(QueryError) as caught:
        Database({"x": {}}).page(after=cursor)
    assert caught.value.errors[0]["pointer"] == "/after"


def test_a_cursor_belongs_to_its_query() -> None:
    database = Database({f"{n}": {"n": n} for n in range(5)})
    cursor = database.page(limit=2).next
    assert cursor is not None
    for body in ({"filter": {"n": 1}}, {"sort": {"n": 1}}):
        with pytest.raises(QueryError):
            database.page(after=cursor, **body)
    with pytest.raises(QueryError):
        database.page(after=cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB"))
