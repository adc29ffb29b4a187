"""Indexes change how long a query takes, and nothing else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents.commands import Delete, IndexDrop, Put
from dataplane.documents.values import pack_document
from dataplane.query import Limits, parse_query, query_steps
from dataplane.query.access import remembered
from dataplane.query.executor import finish
from tests.dataplane.query import reference
from tests.dataplane.query.database import Database
from tests.dataplane.query.indexed import INDEXES, MOSTLY_PLAIN, add_index, plan, small_steps
from tests.dataplane.query.strategies import FILTERS, SCALARS, SORTS, VALUES, plain

OPERATORS = st.sampled_from(["$eq", "$gt", "$gte", "$lt", "$lte"])
NUMBERS = st.sampled_from([-1.5, 0, 1, 2])
# Conditions that indexes are good for, more often than any filter whatever.
POINTED = st.dictionaries(
    st.sampled_from(["a", "a", "b", "c", "a.x", "b.y"]),
    st.one_of(
        SCALARS,
        VALUES,
        st.tuples(OPERATORS, VALUES).map(lambda pair: {pair[0]: pair[1]}),
        st.tuples(OPERATORS, VALUES, OPERATORS, VALUES).map(
            lambda four: {four[0]: four[1], four[2]: four[3]}
        ),
        st.tuples(NUMBERS, NUMBERS).map(lambda pair: {"$gte": pair[0], "$lte": pair[1]}),
        st.lists(VALUES, max_size=4).map(lambda values: {"$in": values}),
        st.tuples(OPERATORS, VALUES, OPERATORS, VALUES).map(
            lambda four: {"$elemMatch": {four[0]: four[1], four[2]: four[3]}}
        ),
        st.sampled_from(["x" * 300 + tail for tail in ("", "a", "z")]),
    ),
    min_size=1,
    max_size=3,
)
QUESTIONS = st.lists(
    st.tuples(
        st.one_of(
            POINTED,
            POINTED,
            FILTERS,
            st.lists(POINTED.filter(bool), min_size=2, max_size=3).map(lambda p: {"$or": p}),
        ),
        st.one_of(st.just({}), SORTS, st.dictionaries(st.sampled_from("abc"), st.just(-1))),
        st.integers(1, 5),
    ),
    min_size=8,
    max_size=8,
)


def used(explained: dict[str, Any]) -> bool:
    return explained["stage"] in {"index_scan", "index_union"}


class Counts:
    asked = 0
    by_index = 0
    in_order = 0


@settings(max_examples=260)
@given(st.lists(MOSTLY_PLAIN, min_size=1, max_size=14), INDEXES, QUESTIONS)
def test_answers_are_those_without_an_index_and_of_the_interpreter(documents, indexes, questions):
    stored = plain(documents)
    bare, indexed = Database(stored), Database(stored)
    for number, definition in enumerate(indexes):
        add_index(indexed, f"i{number}", definition)
    with small_steps():
        compare(bare, indexed, stored, questions)


def compare(bare, indexed, stored, questions):
    every = [{"_id": key, **value} for key, value in stored.items()]
    for filter_, sort, limit in questions:
        fitting = [document for document in every if reference.matches(document, filter_)]
        expected = [found["_id"] for found in reference.ordered(fitting, sort)]
        body = {"filter": filter_, "sort": sort}
        assert bare.ids(**body) == expected
        assert indexed.ids(**body) == expected
        assert indexed.all_pages(**body, limit=limit) == expected
        assert indexed.ids(**body, limit=limit, offset=2) == expected[2 : 2 + limit]
        pipeline = [{"$match": filter_}, {"$project": {"_id": 1}}]
        assert [found["_id"] for found in indexed.aggregate(*pipeline)] == sorted(
            document["_id"] for document in fitting
        )
        explained = plan(indexed, **body, limit=limit)
        Counts.asked += 1
        Counts.by_index += used(explained)
        Counts.in_order += explained["order"] == "index_order"


def test_the_comparison_is_worth_making():
    assert Counts.asked >= 2_000
    assert Counts.by_index * 4 > Counts.asked
    assert Counts.in_order * 80 > Counts.asked


@settings(max_examples=60)
@given(
    st.lists(MOSTLY_PLAIN, min_size=4, max_size=14),
    INDEXES,
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, -1]), max_size=2),
    st.data(),
)
def test_pages_neither_repeat_nor_hide_others_while_documents_change(
    documents, indexes, sort, data
):
    stored = plain(documents)
    indexed = Database(stored)
    for number, definition in enumerate(indexes):
        add_index(indexed, f"i{number}", definition)
    first = indexed.page(sort=sort, limit=3)
    seen = [found["_id"] for found in first.documents]
    rest = [key for key in stored if key not in seen]
    gone = data.draw(st.sampled_from(rest + seen))
    indexed.write(Delete("c", gone), Put("c", "d99", pack_document({"a": 1, "b": "a"})))
    after = first.next
    while after is not None:
        page = indexed.page(sort=sort, limit=3, after=after)
        seen += [found["_id"] for found in page.documents]
        after = page.next
    assert len(seen) == len(set(seen))
    assert set(rest) - {gone} <= set(seen)


# --- What the planner chooses -------------------------------------------------------------------


@pytest.fixture(scope="module")
def flights() -> Database:
    documents = {
        f"f{n:04}": {
            "from": f"A{n % 40:02}",
            "to": f"B{n % 7}",
            "minutes": n * 37 % 600,
            "tags": ["late"] if n % 5 == 0 else ["late", "full"] if n % 5 == 1 else [],
            **({"gate": n % 9} if n % 3 == 0 else {}),
        }
        for n in range(4_000)
    }
    database = Database(documents)
    add_index(database, "route", {"fields": {"from": 1, "minutes": -1}})
    add_index(database, "minutes", {"fields": {"minutes": 1}})
    add_index(database, "tags", {"fields": {"tags": 1, "minutes": 1}})
    add_index(database, "gate", {"fields": {"gate": 1}, "sparse": True})
    add_index(database, "short", {"fields": {"to": 1}, "partial": {"minutes": {"$lt": 60}}})
    return database


@pytest.mark.parametrize(
    ("body", "index", "order", "documents"),
    [
        ({"filter": {"from": "A03"}}, "route", "id_order", 100),
        ({"filter": {"from": "A03", "minutes": {"$lt": 100}}}, "route", "id_order", 17),
        ({"filter": {"from": {"$in": ["A03", "A04"]}, "minutes": 111}}, "route", "id_order", 7),
        ({"filter": {"from": "A03"}, "sort": {"minutes": -1}, "limit": 5}, "route", None, 16),
        ({"filter": {"from": "A03"}, "sort": {"minutes": 1}, "limit": 5}, "route", None, 16),
        ({"filter": {"minutes": {"$gte": 590}}}, "minutes", "id_order", 67),
        ({"sort": {"minutes": 1}, "limit": 5}, "minutes", "index_order", 16),
        ({"sort": {"minutes": -1, "from": 1}, "limit": 5}, "minutes", "index_order", 16),
        (
            {"filter": {"tags": "full"}, "sort": {"minutes": 1}, "limit": 9},
            "tags",
            "index_order",
            None,
        ),
        ({"filter": {"gate": 3}, "limit": 20}, "gate", "id_order", None),
        ({"filter": {"to": "B1", "minutes": {"$lt": 50}}}, "short", "id_order", None),
        ({"filter": {"$or": [{"from": "A01"}, {"minutes": 5}]}}, None, "id_order", None),
    ],
)
def test_the_planner_finds_the_index(flights, body, index, order, documents):
    explained = plan(flights, **body)
    assert used(explained)
    assert explained.get("index") == index
    assert explained["order"] == (order or "index_order")
    assert explained["documents_examined"] < 4_000 / 3
    if documents is not None and "limit" not in body:
        assert explained["documents_examined"] <= documents + 1
    if "limit" in body and explained["order"] == "index_order":
        assert explained["documents_examined"] <= 64
    bare = flights.ids(
        **{**body, "filter": {"$and": [{"$nor": [{"$nor": [body.get("filter", {})]}]}]}}
    )
    assert flights.ids(**body) == bare


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        ({"filter": {"gate": None}}, {"gate": "it is sparse"}),
        ({"filter": {"to": "B1"}}, {"short": "the filter does not imply"}),
        ({"filter": {"to": "B1", "minutes": {"$lte": 60}}}, {"short": "the filter does not imply"}),
        ({"filter": {"tags": {"$ne": "x"}}}, {"tags": "the filter says nothing"}),
        ({"filter": {"minutes": {"$gte": 0}}, "limit": 5}, {"minutes": "more than 616 entries"}),
        ({"filter": {"from": {"$gte": "A"}}, "sort": {"to": 1}}, {"route": "more than 1333"}),
    ],
)
def test_an_index_is_left_alone_where_it_would_be_wrong_or_slower(flights, body, reasons):
    explained = plan(flights, **body)
    told = {item["index"]: item["reason"] for item in explained["rejected"]}
    for index, reason in reasons.items():
        assert told[index].startswith(reason)
    assert explained.get("index") not in reasons


def test_two_conditions_on_an_array_may_be_met_by_different_elements():
    database = Database({"a": {"v": [1, 9]}, "b": {"v": [5]}, "c": {"v": 5}})
    add_index(database, "v", {"fields": {"v": 1}})
    assert database.ids(filter={"v": {"$gt": 4, "$lt": 2}}) == ["a"]
    assert database.ids(filter={"v": {"$gt": 4, "$lt": 6}}) == ["a", "b", "c"]
    between = {"v": {"$elemMatch": {"$gt": 4, "$lt": 6}}}
    assert database.ids(filter=between) == ["b"]
    assert plan(database, filter=between)["keys_examined"] == 2


def test_a_better_index_is_found_by_looking_and_remembered_by_the_shape_of_the_query():
    remembered.cache_clear()
    documents = {f"d{n:03}": {"few": n % 100, "many": n % 2} for n in range(600)}
    database = Database(documents)
    add_index(database, "many", {"fields": {"many": 1}})
    add_index(database, "few", {"fields": {"few": 1}})
    first = plan(database, filter={"many": 1, "few": 7})
    second = plan(database, filter={"few": 9, "many": 1})
    assert (first["index"], first["choice"]) == ("few", "new")
    assert (second["index"], second["choice"]) == ("few", "cached")
    assert first["rejected"] == [{"index": "many", "reason": "another has fewer entries"}]
    database.write(IndexDrop("c", "few"))
    assert plan(database, filter={"many": 1, "few": 7})["choice"] == "new"


def test_an_order_with_too_few_matches_is_given_up(flights):
    body = {"filter": {"from": {"$regex": "^A03$"}, "to": "B0"}, "sort": {"minutes": 1}}
    explained = plan(flights, **body, limit=100)
    assert explained["stage"] == "collection_scan"
    told = {item["index"]: item["reason"] for item in explained["rejected"]}
    assert told["minutes"] == "its order has too few matches"
    assert len(flights.ids(**body, limit=100)) == 14


def test_a_query_by_an_index_sees_one_moment_whatever_is_written_meanwhile():
    documents = {f"d{n:04}": {"v": n % 3, "w": "x" * 50} for n in range(900)}
    database = Database(documents)
    add_index(database, "v", {"fields": {"v": 1}})
    for body in ({"filter": {"v": {"$in": [1, 2]}}}, {"sort": {"v": 1}}, {"filter": {"v": 1}}):
        expected = database.ids(**body, limit=700)
        request = parse_query("c", {**body, "limit": 700})
        steps = query_steps(database.machine.view, request, limits=Limits(slice_units=50))
        next(steps)
        changed = dict(list(documents.items())[::2])
        database.put("c", {key: {"v": 3, "w": "y"} for key in changed})
        assert [found["_id"] for found in finish(steps).documents] == expected
        database.put("c", changed)
