"""What a node remembers of its queries: shapes without values, in bounded memory, and advice."""

from dataplane.documents.types import IndexRecord
from dataplane.query import parse_query
from dataplane.query.observed import COUNT_MIN, PROPOSALS_MAX, SHAPES_MAX, QueryLog
from dataplane.query.shapes import LENGTH_MAX, shape_of
from tests.dataplane.query.database import Database
from tests.dataplane.query.indexed import add_index


def ask(database: Database, log: QueryLog, elapsed_ms: float = 1.0, **body: object) -> None:
    names = {index.id: index.name for index in indexes(database)}
    log.note("c", database.page(**body).trace, names, elapsed_ms)


def indexes(database: Database) -> list[IndexRecord]:
    return database.machine.view.indexes("c")


def shape(**body: object) -> str:
    request = parse_query("c", body)
    return shape_of(request.where, request.sort)


def test_shapes_name_fields_and_operators_and_no_values():
    one = shape(filter={"a": "secret", "b": {"$gt": 5}}, sort={"c": -1})
    other = shape(filter={"b": {"$gt": 6}, "a": 1}, sort={"c": -1})
    assert one == other == "a $eq and b $gt by -c"
    assert shape(filter={"$or": [{"a": 1}, {"b.c": {"$in": [1]}}]}) == "(a $eq or b.c $in)"
    assert shape(filter={"a": {"$not": {"$regex": "secret"}}}) == "not (a $regex)"
    assert shape(filter={"a": {"$elemMatch": {"x": 1}}}) == "a $elemMatch (x $eq)"
    assert shape() == "everything"
    long = {"$or": [{f"field-{n}": 1} for n in range(150)]}
    assert len(shape(filter=long)) == LENGTH_MAX


def test_costly_shapes_get_proposals_and_once_built_their_effect_is_shown():
    database = Database({f"d{n:03}": {"a": n % 50, "b": n, "c": "x"} for n in range(500)})
    log = QueryLog()
    body = {"filter": {"a": 7, "b": {"$gte": 0}}, "sort": {"c": -1}}
    for _ in range(COUNT_MIN - 1):
        ask(database, log, 20.0, **body)
    assert log.advice("c", [])["proposals"] == []
    ask(database, log, 20.0, **body)
    (proposal,) = log.advice("c", indexes(database))["proposals"]
    assert list(proposal["fields"].items()) == [("a", 1), ("c", -1), ("b", 1)]
    assert proposal["reason"] == (
        "5 queries looked at 500 documents each, without an index, to return 10"
    )
    assert log.advice("c", [])["effects"] == []
    made = add_index(database, "suited", {"fields": proposal["fields"]})
    ask(database, log, 0.5, **body)
    advice = log.advice("c", indexes(database))
    assert advice["proposals"] == []
    (effect,) = advice["effects"]
    assert (effect["index"], effect["shape"]) == ("suited", proposal["shapes"][0])
    before, after = effect["before"], effect["after"]
    assert (before["examined"], after["examined"]) == (2_500, 10)
    assert 16 <= before["p50_ms"] <= 25
    assert 0.4 <= after["p99_ms"] <= 0.7
    assert log.usage(made.id) == {"used": 1, "keys_examined": 10}
    assert log.advice("other", []) == {"shapes": [], "proposals": [], "effects": []}


def test_what_is_cheap_or_returns_what_it_reads_gets_no_proposal():
    database = Database({f"d{n:03}": {"a": n % 2} for n in range(500)})
    log = QueryLog()
    for _ in range(COUNT_MIN):
        ask(database, log, filter={"a": 1})
        ask(database, log, filter={"a": 1}, limit=1)
        ask(database, log, filter={"_id": "d001"})
        ask(database, log)
    assert log.advice("c", [])["proposals"] == []
    assert len(log.advice("c", [])["shapes"]) == 3


def test_memory_is_bounded_and_the_oldest_shapes_go_first():
    database = Database({f"d{n:03}": {"a": 1} for n in range(300)})
    log = QueryLog()
    for number in range(SHAPES_MAX + 20):
        for _ in range(COUNT_MIN if number > SHAPES_MAX else 1):
            ask(database, log, filter={f"f{number}": 1})
    advice = log.advice("c", [])
    assert len(advice["shapes"]) == SHAPES_MAX
    assert len(advice["proposals"]) == PROPOSALS_MAX
    assert "f3 $eq" not in {known["shape"] for known in advice["shapes"]}
