"""Generated documents, filters, orders and pipelines: small alphabets, so that things meet."""

from typing import Any

from hypothesis import strategies as st

from tests.dataplane.query import reference

SCALARS = st.sampled_from([None, True, False, 0, 1, 1.0, 2, -1.5, "", "a", "b", "ab"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "0"]), inner, max_size=2)
    ),
    max_leaves=5,
)
NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.sampled_from(["a", "b", "c", "a.x", "b.y", "a.x.y", "a.0", "b.0.x", "c.1"])
DOCUMENTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=12)
TYPES = st.sampled_from(sorted(reference.TYPES))
REGEX = st.sampled_from(["a", "^a$", "b$", "^$", "[ab]{2}", "A"])

LEAF = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), VALUES),
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(VALUES, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$type"), TYPES | st.lists(TYPES, min_size=1, max_size=2)),
    st.tuples(st.just("$size"), st.integers(0, 3)),
    st.tuples(st.just("$regex"), REGEX),
).map(lambda pair: {pair[0]: pair[1]})
NESTED = st.one_of(
    LEAF,
    LEAF.map(lambda inner: {"$not": inner}),
    LEAF.map(lambda inner: {"$elemMatch": inner}),
    st.tuples(LEAF, LEAF).map(lambda pair: {"$elemMatch": {"$not": pair[0] | pair[1]}}),
    st.tuples(LEAF, LEAF).map(lambda pair: {"$not": pair[0] | {"$not": pair[1]}}),
    st.tuples(LEAF, VALUES).map(lambda pair: {"$all": [{"$elemMatch": pair[0]}, pair[1]]}),
    st.dictionaries(st.sampled_from(["x", "y"]), LEAF, min_size=1, max_size=2).map(
        lambda inner: {"$elemMatch": inner}
    ),
    st.tuples(LEAF, LEAF).map(lambda pair: pair[0] | pair[1]),
    VALUES,
)
FILTERS = st.recursive(
    st.dictionaries(PATHS, NESTED, max_size=2),
    lambda inner: st.dictionaries(
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=3),
        min_size=1,
        max_size=2,
    ),
    max_leaves=4,
)
SORTS = st.dictionaries(PATHS | st.just("_id"), st.sampled_from([1, -1]), max_size=3)


EXPRESSION_PATHS = st.sampled_from(["$a", "$b", "$c", "$a.x", "$b.y", "$a.x.y", "$nope", "$_id"])
LITERALS = SCALARS.filter(lambda value: value != "").map(lambda value: {"$literal": value})
BINARY = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$subtract", "$divide"]
EXPRESSIONS = st.recursive(
    EXPRESSION_PATHS | LITERALS | st.sampled_from([None, True, 0, 1, 2.5, "b"]),
    lambda inner: (
        st.one_of(
            st.tuples(st.sampled_from(BINARY), st.tuples(inner, inner).map(list)),
            st.tuples(
                st.sampled_from(["$add", "$multiply", "$concat", "$and", "$or"]),
                st.lists(inner, min_size=1, max_size=3),
            ),
            st.tuples(st.sampled_from(["$not", "$size", "$toUpper"]), inner.map(lambda e: [e])),
            st.tuples(st.just("$ifNull"), st.lists(inner, min_size=2, max_size=3)),
            st.tuples(st.just("$cond"), st.tuples(inner, inner, inner).map(list)),
        ).map(lambda pair: {pair[0]: pair[1]})
        | st.dictionaries(st.sampled_from(["x", "y"]), inner, min_size=1, max_size=2)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=5,
)
ACCUMULATORS = st.one_of(
    st.tuples(
        st.sampled_from(["$sum", "$avg", "$min", "$max", "$first", "$last", "$push", "$addToSet"]),
        EXPRESSION_PATHS | EXPRESSIONS,
    ),
    st.just(("$push", "$$ROOT")),
    st.just(("$count", {})),
).map(lambda pair: {pair[0]: pair[1]})
GROUPS = st.builds(
    lambda key, fields: {"$group": {"_id": key, **fields}},
    EXPRESSION_PATHS | EXPRESSIONS,
    st.dictionaries(st.sampled_from(["a", "b", "n"]), ACCUMULATORS, max_size=3),
)
KEPT = st.dictionaries(st.sampled_from(["a", "b.y", "c.0", "b.x.y"]), st.sampled_from([1, True]))


def is_plain(expression: Any) -> bool:
    """Say whether `$project` takes an expression for a flag or for nested fields."""
    if isinstance(expression, dict):
        return not any(name.startswith("$") for name in expression)
    return isinstance(expression, bool | int | float)


COMPUTED = st.dictionaries(
    st.sampled_from(["d", "e"]),
    EXPRESSION_PATHS | EXPRESSIONS.filter(lambda expression: not is_plain(expression)),
    max_size=2,
)
PROJECTS = st.one_of(
    st.tuples(KEPT, COMPUTED, st.sampled_from([{}, {"_id": 0}, {"_id": 1}]))
    .map(lambda parts: parts[0] | parts[1] | parts[2])
    .filter(lambda fields: set(fields) - {"_id"}),
    st.dictionaries(
        st.sampled_from(["a", "b.y", "c.x", "b.x.y", "_id"]), st.just(0), min_size=1, max_size=3
    ),
).map(lambda fields: {"$project": fields})
UNWINDS = st.builds(
    lambda name, options: {"$unwind": {"path": name, **options} if options else name},
    st.sampled_from(["$a", "$b", "$c"]),
    st.fixed_dictionaries(
        {},
        optional={
            "preserveNullAndEmptyArrays": st.booleans(),
            "includeArrayIndex": st.sampled_from(["n", "i"]),
        },
    ),
)
LOOKUPS = st.builds(
    lambda local, foreign: {
        "$lookup": {"from": "other", "localField": local, "foreignField": foreign, "as": "found"}
    },
    st.sampled_from(["a", "b", "c.x", "_id"]),
    st.sampled_from(["a", "b", "a.x", "_id"]),
)
STAGES = st.one_of(
    FILTERS.map(lambda filter_: {"$match": filter_}),
    PROJECTS,
    GROUPS,
    SORTS.filter(bool).map(lambda order: {"$sort": order}),
    st.integers(1, 6).map(lambda count: {"$limit": count}),
    st.integers(0, 4).map(lambda count: {"$skip": count}),
    UNWINDS,
    LOOKUPS,
    st.just({"$count": "n"}),
)
PIPELINES = st.lists(STAGES, min_size=1, max_size=4)


def plain(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {f"d{index:02}": document for index, document in enumerate(documents)}
