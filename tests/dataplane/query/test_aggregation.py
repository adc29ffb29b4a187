"""Aggregations: against the reference, their faults, their limits, and what they read."""

from typing import Any

import pytest
from hypothesis import given, settings

from dataplane.documents.commands import Delete, Put
from dataplane.documents.values import pack_document
from dataplane.query import (
    Limits,
    QueryError,
    QueryTooCostlyError,
    aggregate_steps,
    parse_aggregate,
    run_aggregate,
)
from dataplane.query.executor import finish
from dataplane.storage.ports import KeyValueStore
from tests.dataplane.query import reference_pipeline
from tests.dataplane.query.database import Database
from tests.dataplane.query.strategies import DOCUMENTS, FILTERS, GROUPS, PIPELINES, plain

META = ("_version", "_created", "_updated")


def bare(value: Any) -> Any:
    """Take away what the reference does not know."""
    if isinstance(value, dict):
        return {name: bare(item) for name, item in value.items() if name not in META}
    return [bare(item) for item in value] if isinstance(value, list) else value


def canonical(value: Any) -> Any:
    """Tell numbers and booleans apart, and forget the order of names."""
    if isinstance(value, dict):
        return sorted((name, canonical(item)) for name, item in value.items())
    return [canonical(item) for item in value] if isinstance(value, list) else repr(value)


def agree(documents: list[dict[str, Any]], stages: list[dict[str, Any]]) -> None:
    stored, others = plain(documents), plain(documents[::-1])
    database = Database(stored)
    database.put("other", others)
    listed = [{"_id": key, **value} for key, value in stored.items()]
    other_listed = [{"_id": key, **value} for key, value in others.items()]
    try:
        expected = reference_pipeline.run(listed, stages, other_listed)
    except reference_pipeline.RefusedError:
        with pytest.raises(QueryError):
            database.aggregate(*stages)
        return
    assert canonical(bare(database.aggregate(*stages))) == canonical(expected)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(DOCUMENTS, PIPELINES)
def test_pipelines_agree_with_the_reference(
    documents: list[dict[str, Any]], stages: list[dict[str, Any]]
) -> None:
    agree(documents, stages)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(DOCUMENTS, FILTERS, GROUPS)
def test_groups_of_stored_rows_agree_with_the_reference(
    documents: list[dict[str, Any]], filter_: dict[str, Any], group: dict[str, Any]
) -> None:
    agree(documents, [{"$match": filter_}, group])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"$add": [2**62, 2**62]}, 2.0**63),
        ({"$add": ["$n", None]}, None),
        ({"$divide": [7, 2]}, 3.5),
        ({"$mod": [-7, 3]}, -1),
        ({"$mod": [7.5, 2]}, 1.5),
        ({"$abs": -3}, 3),
        ({"$floor": -1.5}, -2),
        ({"$ceil": 1.2}, 2),
        ({"$round": [2.345, 1]}, 2.3),
        ({"$round": 7}, 7),
        ({"$concat": ["$s", "-", "$s"]}, "ab-ab"),
        ({"$toLower": "AbC"}, "abc"),
        ({"$substrCP": ["$s", 1, 5]}, "b"),
        ({"$substrCP": ["$nope", 0, 1]}, ""),
        ({"$arrayElemAt": ["$l", -1]}, 3),
        ({"$in": [2, "$l"]}, True),
        ({"$cond": {"if": {"$gt": ["$n", 4]}, "then": "big", "else": "small"}}, "big"),
        ({"$ifNull": ["$nope", None, "given"]}, "given"),
        ({"$lt": ["$nope", None]}, True),
        ({"$and": []}, True),
        ({"$or": []}, False),
        (["$n", "$nope"], [5, None]),
        ({"x": {"y": "$n", "z": "$nope"}}, {"x": {"y": 5}}),
        ("$o.p", [1, 2]),
        ({"$literal": "$n"}, "$n"),
    ],
)
def test_functions(expression: Any, expected: Any) -> None:
    database = Database({"x": {"n": 5, "s": "ab", "l": [1, 2, 3], "o": [{"p": 1}, 7, {"p": 2}]}})
    (document,) = database.aggregate({"$group": {"_id": expression}})
    assert repr(document["_id"]) == repr(expected)


@pytest.mark.parametrize(
    "expression",
    [
        {"$add": ["$s", 1]},
        {"$divide": [1, 0]},
        {"$mod": [1, 0.0]},
        {"$multiply": [1e308, 10]},
        {"$multiply": [2**62] * 50},
        {"$concat": ["$n", "x"]},
        {"$toUpper": "$n"},
        {"$size": "$n"},
        {"$arrayElemAt": ["$n", 0]},
        {"$in": [1, "$n"]},
        {"$substrCP": ["$s", -1, 1]},
        {"$round": [1.5, "x"]},
    ],
)
def test_a_function_refuses_what_it_does_not_work_with(expression: dict[str, Any]) -> None:
    database = Database({"x": {"n": 5, "s": "ab"}})
    with pytest.raises(QueryError) as caught:
        database.aggregate({"$project": {"y": expression}})
    (error,) = caught.value.errors
    assert error["pointer"].startswith("/pipeline/0/$project/y/$")


@pytest.mark.parametrize(
    ("pipeline", "pointer"),
    [
        (None, "/pipeline"),
        ([{}] * 51, "/pipeline"),
        ([{}], "/pipeline/0"),
        ([{"$limit": 1, "$skip": 1}], "/pipeline/0"),
        ([{"$out": "x"}], "/pipeline/0/$out"),
        ([{"$match": {"a": {"$near": 1}}}], "/pipeline/0/$match/a/$near"),
        ([{"$limit": 0}], "/pipeline/0/$limit"),
        ([{"$limit": True}], "/pipeline/0/$limit"),
        ([{"$skip": -1}], "/pipeline/0/$skip"),
        ([{"$count": "a.b"}], "/pipeline/0/$count"),
        ([{"$count": "$a"}], "/pipeline/0/$count"),
        ([{"$sort": {}}], "/pipeline/0/$sort"),
        ([{"$sort": {"a": []}}], "/pipeline/0/$sort/a"),
        ([{"$sort": None}], "/pipeline/0/$sort"),
        ([{"$unwind": "a"}], "/pipeline/0/$unwind"),
        ([{"$unwind": {"path": "$a", "x": 1}}], "/pipeline/0/$unwind/x"),
        ([{"$unwind": {"path": "$a", "includeArrayIndex": 1}}], "/pipeline/0/$unwind"),
        ([{"$project": {}}], "/pipeline/0/$project"),
        ([{"$project": {"a": 1, "b": 0}}], "/pipeline/0/$project"),
        ([{"$project": {"a": 1, "a.b": 1}}], "/pipeline/0/$project"),
        ([{"$project": {"a..b": 1}}], "/pipeline/0/$project/a..b"),
        ([{"$project": {"a": {"b": {"$x": 1}}}}], "/pipeline/0/$project/a/b/$x"),
        ([{"$project": {"a": {"$size": 1, "b": 2}}}], "/pipeline/0/$project/a"),
        ([{"$project": {"a": {"$divide": [1]}}}], "/pipeline/0/$project/a/$divide"),
        ([{"$project": {"a": "$$NOW"}}], "/pipeline/0/$project/a"),
        ([{"$project": {"a": "$"}}], "/pipeline/0/$project/a"),
        ([{"$group": {"n": {"$sum": 1}}}], "/pipeline/0/$group"),
        ([{"$group": {"_id": None, "n": 1}}], "/pipeline/0/$group/n"),
        ([{"$group": {"_id": None, "n": {"$median": 1}}}], "/pipeline/0/$group/n/$median"),
        ([{"$group": {"_id": None, "a.b": {"$sum": 1}}}], "/pipeline/0/$group/a.b"),
        ([{"$group": {"_id": None, "n": {"$count": 1}}}], "/pipeline/0/$group/n/$count"),
        ([{"$lookup": {"from": "x"}}], "/pipeline/0/$lookup/localField"),
        (
            [{"$lookup": {"from": "X", "localField": "a", "foreignField": "a", "as": "a"}}],
            "/pipeline/0/$lookup/from",
        ),
    ],
)
def test_faults_are_named_by_pointer(pipeline: Any, pointer: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_aggregate("c", {"pipeline": pipeline})
    assert [error["pointer"] for error in caught.value.errors] == [pointer]


def test_every_stage_with_a_fault_is_named_at_once() -> None:
    body = {"pipeline": [{"$limit": 0}, {"$skip": 0}, {"$x": 1}], "limit": 1, "explain": 1}
    with pytest.raises(QueryError) as caught:
        parse_aggregate("c", body)
    assert [error["pointer"] for error in caught.value.errors] == [
        "/limit",
        "/pipeline/0/$limit",
        "/pipeline/2/$x",
        "/explain",
    ]


def test_unwind_opens_arrays_and_keeps_or_drops_what_is_none() -> None:
    documents: dict[str, dict[str, Any]] = {
        "array": {"o": {"l": [1, [2]]}},
        "empty": {"o": {"l": []}},
        "missing": {"o": {}},
        "none": {},
        "null": {"o": {"l": None}},
        "one": {"o": {"l": "x"}},
    }
    database = Database(documents)
    shown = {"$project": {"o": 1, "i": 1}}
    assert database.aggregate({"$unwind": "$o.l"}, shown) == [
        {"_id": "array", "o": {"l": 1}},
        {"_id": "array", "o": {"l": [2]}},
        {"_id": "one", "o": {"l": "x"}},
    ]
    options = {"path": "$o.l", "preserveNullAndEmptyArrays": True, "includeArrayIndex": "i"}
    assert database.aggregate({"$unwind": options}, shown) == [
        {"_id": "array", "o": {"l": 1}, "i": 0},
        {"_id": "array", "o": {"l": [2]}, "i": 1},
        {"_id": "empty", "o": {}, "i": None},
        {"_id": "missing", "o": {}, "i": None},
        {"_id": "none", "i": None},
        {"_id": "null", "o": {"l": None}, "i": None},
        {"_id": "one", "o": {"l": "x"}, "i": None},
    ]


def test_deep_and_many_expressions_are_refused() -> None:
    deep: Any = "$a"
    for _ in range(25):
        deep = {"$not": [deep]}
    for expression in (deep, {"$add": [{"$add": [1] * 50}] * 10}):
        with pytest.raises(QueryError):
            parse_aggregate("c", {"pipeline": [{"$group": {"_id": expression}}]})


GROWTH = [{"$project": {"a": ["$a"] * 5}}] * 50


@pytest.mark.parametrize(
    ("stages", "limits"),
    [
        ([{"$sort": {"text": 1}}], Limits(memory_bytes=20_000)),
        ([{"$sort": {"text": 1}}, {"$limit": 90}], Limits(memory_bytes=20_000)),
        ([{"$group": {"_id": "$n"}}], Limits(memory_bytes=20_000)),
        ([{"$group": {"_id": None, "all": {"$push": "$text"}}}], Limits(memory_bytes=20_000)),
        (
            [{"$group": {"_id": None, "all": {"$addToSet": ["$n", "$text"]}}}],
            Limits(memory_bytes=20_000),
        ),
        ([{"$unwind": "$l"}, {"$unwind": "$l2"}, {"$count": "n"}], Limits(units=20_000)),
        ([{"$match": {"n": {"$gte": 0}}}, {"$count": "n"}], Limits(documents=99)),
        (
            [{"$lookup": {"from": "c", "localField": "z", "foreignField": "z", "as": "z"}}],
            Limits(units=9_000),
        ),
        (
            [{"$lookup": {"from": "c", "localField": "z", "foreignField": "z", "as": "z"}}],
            Limits(memory_bytes=20_000),
        ),
        ([{"$group": {"_id": "$n", "a": {"$first": "$text"}}}], Limits(memory_bytes=90_000)),
        ([{"$group": {"_id": "$n", "a": {"$last": "$text"}}}], Limits(memory_bytes=90_000)),
        ([{"$group": {"_id": "$n", "a": {"$max": "$text"}}}], Limits(memory_bytes=90_000)),
        (GROWTH, Limits()),
        ([{"$group": {"_id": None, "a": {"$max": ["$a"] * 5}}}] * 50, Limits()),
        ([{"$project": {"a": {"x": {"y": {"z": ["$a"]}}, "b": "$z"}}}] * 50, Limits()),
        ([{"$project": {"l." * 31 + "l": "$l"}}] * 48 + [{"$sort": {"l": 1}}], Limits()),
        ([{"$project": {"l." * 31 + "l": "$l"}}] * 49, Limits()),
        ([{"$project": {"text": {"$concat": ["$text"] * 50}}}] * 3, Limits()),
        ([{"$unwind": "$l"}, {"$unwind": "$l2"}, {"$unwind": "$l3"}], Limits()),
    ],
)
def test_what_would_use_more_than_it_may_is_stopped(
    stages: list[dict[str, Any]], limits: Limits
) -> None:
    document = {"text": "x" * 500, "l": [0] * 20, "l2": [0] * 20, "l3": [0] * 20}
    database = Database({f"{n}": {**document, "n": n} for n in range(100)})
    request = parse_aggregate("c", {"pipeline": stages})
    with pytest.raises(QueryTooCostlyError):
        run_aggregate(database.machine.view, request, limits=limits)


def test_the_memory_of_replaced_values_is_counted_once() -> None:
    database = Database({f"{n:03}": {"text": f"{n:03}" * 100} for n in range(500)})
    group = {"_id": None, "last": {"$last": "$text"}, "max": {"$max": "$text"}}
    request = parse_aggregate("c", {"pipeline": [{"$group": group}]})
    limits = Limits(memory_bytes=3_000)
    (document,) = run_aggregate(database.machine.view, request, limits=limits).documents
    assert document == {"_id": None, "last": "499" * 100, "max": "499" * 100}


def test_an_aggregation_sees_one_moment_in_all_its_collections(store: KeyValueStore) -> None:
    database = Database({f"d{n:03}": {"n": n, "o": f"o{n % 5}"} for n in range(100)}, store)
    database.put("others", {f"o{n}": {"name": f"o{n}", "value": n} for n in range(5)})
    for foreign in ("_id", "name"):
        lookup = {"from": "others", "localField": "o", "foreignField": foreign, "as": "o"}
        stages = [
            {"$lookup": lookup},
            {"$unwind": "$o"},
            {"$group": {"_id": "$o.value", "n": {"$sum": 1}, "sum": {"$sum": "$n"}}},
            {"$sort": {"_id": -1}},
        ]
        request = parse_aggregate("c", {"pipeline": stages})
        assert request.reads == ("others",)
        expected = run_aggregate(database.machine.view, request).documents
        assert [document["n"] for document in expected] == [20] * 5
        steps = aggregate_steps(database.machine.view, request, limits=Limits(slice_units=10))
        next(steps)
        changes = [Put("others", f"o{n}", pack_document({"name": "z"})) for n in range(5)]
        database.write(*changes, *[Delete("c", f"d{n:03}") for n in range(100)])
        assert finish(steps).documents == expected
        assert run_aggregate(database.machine.view, request).documents == []
        database.put("c", {f"d{n:03}": {"n": n, "o": f"o{n % 5}"} for n in range(100)})
        database.put("others", {f"o{n}": {"name": f"o{n}", "value": n} for n in range(5)})


def test_only_what_the_stages_need_is_read_and_the_plan_says_so() -> None:
    database = Database({f"d{n:03}": {"n": n, "m": n % 3, "x": {"y": n}} for n in range(100)})

    def plan(*stages: dict[str, Any]) -> dict[str, Any]:
        found = database.aggregation(*stages, explain=True).plan
        assert found is not None
        return found

    group = {"$group": {"_id": "$m", "n": {"$sum": "$x.y"}}}
    found = plan({"$match": {"_id": {"$gte": "d050"}}}, {"$match": {"n": {"$lt": 60}}}, group)
    assert found["stage"] == "id_range"
    assert found["fields"] == ["_id", "m", "n", "x"]
    assert (found["documents_examined"], found["returned"]) == (50, 3)
    assert plan({"$match": {"_id": "d007"}}, {"$project": {"n": 1}})["keys_examined"] == 1
    assert plan({"$limit": 2})["documents_examined"] == 2
    assert plan({"$limit": 2})["fields"] is None
    last = database.aggregate({"$sort": {"_id": -1}}, {"$limit": 1}, {"$project": {"n": 1}})
    assert last == [{"_id": "d099", "n": 99}]
    assert plan({"$sort": {"_id": -1}}, {"$limit": 1})["documents_examined"] == 1
    assert plan(group)["compiled"] in {"new", "cached"}
    assert plan({"$group": {"_id": "$n", "n": {"$sum": "$m.y"}}})["compiled"] == "cached"


def test_floats_are_summed_with_little_error() -> None:
    database = Database({f"{n}": {"x": 0.1, "n": 2**53 + 1} for n in range(1000)})
    (sums,) = database.aggregate(
        {"$group": {"_id": None, "x": {"$sum": "$x"}, "n": {"$sum": "$n"}, "no": {"$avg": "$z"}}}
    )
    assert sums == {"_id": None, "x": 100.0, "n": 1000 * (2**53 + 1), "no": None}


def test_how_many_documents_there_are_is_known_without_looking() -> None:
    database = Database({f"{n}": {"n": n} for n in range(100)})
    body = {"pipeline": [{"$sort": {"_id": -1}}, {"$count": "n"}], "explain": True}
    found = run_aggregate(
        database.machine.view, parse_aggregate("c", body), limits=Limits(documents=1)
    )
    assert (found.documents, found.scanned) == ([{"n": 100}], 0)
    assert found.plan is not None
    assert (found.plan["stage"], found.plan["keys_examined"]) == ("collection_count", 0)
    database.write(Delete("c", "7"))
    assert database.aggregate({"$match": {}}, {"$count": "n"}, {"$limit": 1}) == [{"n": 99}]
    assert database.aggregate({"$limit": 7}, {"$count": "n"}) == [{"n": 7}]
    assert database.aggregate({"$count": "n"}, {"$group": {"_id": "$n"}}) == [{"_id": 99}]


def test_an_absent_collection_gives_nothing() -> None:
    database = Database({})
    assert database.aggregate({"$count": "n"}) == []
    assert database.aggregate({"$group": {"_id": None, "n": {"$sum": 1}}}) == []
