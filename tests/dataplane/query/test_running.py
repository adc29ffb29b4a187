"""A query in slices: one moment's documents, its limits, and its compiled code."""

import re
from typing import Any

import pytest

from dataplane.documents.commands import CollectionDrop, Delete, Put
from dataplane.documents.values import pack_document
from dataplane.query import (
    Limits,
    QueryError,
    QueryTooCostlyError,
    aggregate_steps,
    parse_aggregate,
    parse_query,
    query_steps,
    run_query,
)
from dataplane.query.compiler import Code, compiled_count, filter_text
from dataplane.query.executor import finish
from dataplane.storage.ports import KeyValueStore
from tests.dataplane.query.database import Database

SMALL_SLICES = Limits(slice_units=10)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sort": {"_id": -1}},
        {"sort": {"n": -1}, "offset": 3},
        {"filter": {"n": {"$gte": 0}}},
        {"filter": {"_id": {"$in": [f"d{n:03}" for n in range(100)]}}},
    ],
)
def test_a_query_sees_one_moment_whatever_is_written_between_its_slices(
    store: KeyValueStore, body: dict[str, Any]
) -> None:
    database = Database({f"d{n:03}": {"n": n} for n in range(100)}, store)
    request = parse_query("c", {"limit": 1000, **body})
    expected = run_query(database.machine.view, request).documents
    steps = query_steps(database.machine.view, request, limits=SMALL_SLICES)
    next(steps)
    database.write(
        Put("c", "d0505", pack_document({"n": 50})),
        *[Put("c", f"d{n:03}", pack_document({"n": -1})) for n in range(0, 100, 3)],
        *[Delete("c", f"d{n:03}") for n in range(1, 100, 3)],
    )
    assert finish(steps).documents == expected
    assert run_query(database.machine.view, request).documents != expected


def test_a_query_outlives_its_collection(store: KeyValueStore) -> None:
    database = Database({f"d{n:03}": {"n": n} for n in range(50)}, store)
    request = parse_query("c", {"sort": {"n": 1}})
    steps = query_steps(database.machine.view, request, limits=SMALL_SLICES)
    next(steps)
    database.write(CollectionDrop("c"))
    database.write(Put("c", "x", pack_document({})))
    assert [document["n"] for document in finish(steps).documents] == list(range(50))


def test_a_short_query_takes_one_turn_and_a_long_one_many() -> None:
    database = Database({f"{n}": {"n": n} for n in range(100)})

    def turns(**body: Any) -> int:
        request = parse_query("c", body)
        return len(list(query_steps(database.machine.view, request, limits=SMALL_SLICES)))

    assert turns(limit=5) == 0
    assert turns(filter={"n": -1}) == 10
    many = {"$or": [{"n": -number} for number in range(1, 100)]}
    assert turns(filter=many) == 100


@pytest.mark.parametrize(
    ("body", "limits", "pointer"),
    [
        ({"filter": {"n": -1}}, Limits(documents=99), "/filter"),
        ({"filter": {"n": -1}}, Limits(size_bytes=2_000), "/filter"),
        ({"filter": {"n": -1}}, Limits(units=99), "/filter"),
        ({"sort": {"text": 1}}, Limits(memory_bytes=20_000), "/sort"),
        ({"filter": {"l": {"$gt": 1}}}, Limits(units=1_000), "/filter"),
        ({"filter": {"l": 1}}, Limits(units=1_000), "/filter"),
        ({"filter": {"l": None}}, Limits(units=1_000), "/filter"),
        ({"filter": {"l": {"$elemMatch": {"$gt": 1}}}}, Limits(units=1_000), "/filter"),
        ({"filter": {"l.x": 1}}, Limits(units=1_000), "/filter"),
        ({"sort": {"l": 1}}, Limits(units=1_000), "/filter"),
    ],
)
def test_a_query_that_would_use_more_than_it_may_is_stopped(
    body: dict[str, Any], limits: Limits, pointer: str
) -> None:
    database = Database({f"{n}": {"n": n, "text": "x" * 500, "l": [0] * 300} for n in range(100)})
    request = parse_query("c", body)
    with pytest.raises(QueryTooCostlyError) as caught:
        run_query(database.machine.view, request, limits=limits)
    assert [error["pointer"] for error in caught.value.errors] == [pointer]
    assert run_query(database.machine.view, request).scanned == 100


def test_long_arrays_end_a_slice_early_and_one_document_has_a_limit() -> None:
    database = Database({f"{n:02}": {"l": [0] * 800} for n in range(20)})
    request = parse_query("c", {"filter": {"l": {"$gt": 1}}})
    steps = query_steps(database.machine.view, request, limits=Limits(slice_units=40))
    assert len(list(steps)) == 20
    stages = [{"$project": {"l": 1}}, {"$match": {"l": {"$gt": 1}}}]
    aggregation = parse_aggregate("c", {"pipeline": stages})
    steps = aggregate_steps(database.machine.view, aggregation, limits=Limits(slice_units=40))
    assert len(list(steps)) >= 20
    database.put("c", {"big": {"l": [0] * 100_000}})
    many = {"$or": [{"l": {"$gt": number}} for number in range(199)]}
    assert database.ids(filter=many["$or"][1]) == []
    with pytest.raises(QueryTooCostlyError) as caught:
        database.ids(filter=many)
    assert "one document" in caught.value.errors[0]["detail"]
    with pytest.raises(QueryTooCostlyError):
        database.aggregate({"$project": {"l": 1}}, {"$match": many})


def test_a_sort_keeps_no_more_than_the_page_needs() -> None:
    database = Database({f"{n:05}": {"text": f"{n % 977:03}" * 40} for n in range(4000)})
    request = parse_query("c", {"sort": {"text": -1}, "limit": 10})
    page = run_query(database.machine.view, request, limits=Limits(memory_bytes=600_000))
    assert page.documents[0]["text"].startswith("976")


def test_pages_end_early_when_documents_are_large(store: KeyValueStore) -> None:
    database = Database({f"{n}": {"n": 1, "text": "x" * 1_000_000} for n in range(20)}, store)
    for sort in ({}, {"n": 1}):
        first = database.page(sort=sort)
        assert 15 <= len(first.documents) < 20
        assert first.scanned == (20 if sort else 17)
        second = database.page(sort=sort, after=first.next)
        assert len(first.documents) + len(second.documents) == 20
        assert second.next is None


def test_one_shape_is_compiled_once_whatever_its_names_and_values() -> None:
    database = Database({"x": {"a": 1, "b": {"c": 2}}})

    def page(filter_: dict[str, Any]) -> dict[str, Any]:
        plan = database.page(filter=filter_, explain=True).plan
        assert plan is not None
        return plan

    page({"a": {"$gt": 5}, "b.c": "text"})
    before = compiled_count()
    assert page({"x": {"$gt": 7}, "y.z": "other"})["compiled"] == "cached"
    assert compiled_count() == before
    assert page({"x": {"$gt": "7"}, "y.z": "other", "q": {"$size": 1}})["compiled"] == "new"


def test_names_and_values_never_become_code() -> None:
    names = ['"', "'", "\\", "k0", "row", "class", "a\nb", "{}", "{again}", "%s", "x); y("]
    documents = {f"{n}": {name: {name: [name]}} for n, name in enumerate(names)}
    database = Database(documents)
    for n, name in enumerate(names):
        for filter_ in (
            {f"{name}.{name}": name},
            {name: {name: [name]}},
            {f"{name}.{name}": {"$in": [name, 1]}},
            {f"{name}.{name}": {"$elemMatch": {"$gte": name, "$lte": name}}},
        ):
            assert database.ids(filter=filter_, sort={name: 1}) == [f"{n}"], filter_


def test_the_deepest_filters_compile() -> None:
    database = Database({"x": {"a": 1}})
    nested: dict[str, Any] = {"b.c": {"$ne": 1}}
    for _ in range(17):
        nested = {"a.b": {"$not": {"$elemMatch": {"$or": [nested, {"b": 1}]}}}}
        if _ % 2:
            nested = {"$nor": [nested]}
        try:
            assert database.ids(filter=nested) in (["x"], [])
        except QueryError as error:
            assert "levels" in str(error), error  # noqa: PT017 - the limit, and nothing else
    wide = {"$or": [{f"f{n}.g": {"$gt": n}} for n in range(199)] + [{"a": 1}]}
    assert database.ids(filter=wide) == ["x"]


def test_wide_filters_use_few_names_for_compiling_takes_the_square_of_them() -> None:
    filter_ = {"$or": [{f"f{n}.g.h": {"$gt": n}, f"g{n}": {"$size": n}} for n in range(100)]}
    code = Code()
    text = filter_text(code, parse_query("c", {"filter": filter_}).where, code.member("row"))
    assert len(set(re.findall(r"\bv\d+", text))) <= 10
    assert len(text) < 100_000


@pytest.mark.parametrize(
    "filter_",
    [
        {"a": {"$all": [1] * 201}},
        {"a": {"$gt": 1, "$not": {"$in": [1]}}, "b": {"$all": [{"$elemMatch": {"$gt": 1}}] * 100}},
        {"a": {"$not": {"$all": ["x"] * 201}}},
    ],
)
def test_every_test_counts_as_a_condition(filter_: dict[str, Any]) -> None:
    with pytest.raises(QueryError) as caught:
        parse_query("c", {"filter": filter_})
    assert "conditions" in caught.value.errors[0]["detail"]
