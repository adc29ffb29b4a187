"""Whatever JSON comes as a question, it is answered or refused: nothing else ever happens."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.query import Limits, QueryError, parse_aggregate, parse_query
from dataplane.query import run_aggregate as aggregate
from dataplane.query import run_query as query
from dataplane.query.accumulators import ACCUMULATORS
from dataplane.query.filters import TYPES
from dataplane.query.functions import FUNCTIONS
from dataplane.query.pipeline import STAGE_NAMES
from tests.dataplane.query.database import Database

OPERATORS = [
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$type",
    "$regex",
    "$options",
    "$size",
    "$all",
    "$elemMatch",
    "$and",
    "$or",
    "$nor",
    "$not",
    "$literal",
    "$cond",
    "$ifNull",
]
WORDS = st.sampled_from(
    [
        *OPERATORS,
        *STAGE_NAMES,
        *ACCUMULATORS,
        *FUNCTIONS,
        *TYPES,
        *[
            "filter",
            "sort",
            "projection",
            "limit",
            "offset",
            "after",
            "explain",
            "pipeline",
            "path",
            "from",
            "as",
            "if",
            "then",
        ],
        *["localField", "foreignField", "includeArrayIndex", "preserveNullAndEmptyArrays"],
        *["a", "b", "a.b", "a.0", "$a", "$a.b", "$$ROOT", "$", "", ".", "_id", "_version", "c"],
        *['"', "\\", "\n", "k0", "row", "{}", "{again}", "é", "💎", "(", "[a", "a" * 200],
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 10, 2**63 - 1, -(2**63), 1.0, 0.5, -0.5, 1e308, 5e-324]),
    WORDS,
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3).map(dict),
    max_leaves=8,
)
OBJECTS = st.dictionaries(WORDS, ANY, max_size=3)
BODIES = OBJECTS | st.fixed_dictionaries(
    {}, optional={"filter": OBJECTS, "sort": OBJECTS | ANY, "projection": ANY, "limit": SCALARS}
)
PIPELINES = st.lists(
    st.tuples(st.sampled_from(STAGE_NAMES), ANY).map(lambda pair: {pair[0]: pair[1]}) | OBJECTS,
    max_size=3,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "0", '"']), inner)
    ),
    max_leaves=6,
)
DOCUMENTS = st.lists(st.dictionaries(st.sampled_from(["a", "b", '"']), VALUES), max_size=4)
PATHS = st.sampled_from(["$a", "$b", "$a.b", "$a.a", '$"', "$nope", "$$ROOT", "$_created"])
CALLS = st.recursive(
    PATHS | SCALARS.map(lambda value: {"$literal": value}),
    lambda inner: st.sampled_from(sorted(FUNCTIONS)).flatmap(
        lambda name: st.lists(
            inner,
            min_size=FUNCTIONS[name].arguments[0],
            max_size=min(FUNCTIONS[name].arguments[1], 3),
        ).map(lambda arguments: {name: arguments})
    ),
    max_leaves=4,
)
FOLDS = st.tuples(st.sampled_from(sorted(set(ACCUMULATORS) - {"$count"})), CALLS).map(
    lambda pair: {pair[0]: pair[1]}
)
LIMITS = Limits(units=200_000)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(DOCUMENTS, BODIES)
def test_any_query(documents: list[dict[str, Any]], body: dict[str, Any]) -> None:
    database = Database({f"{n}": document for n, document in enumerate(documents)})
    try:
        page = query(database.machine.view, parse_query("c", body), limits=LIMITS)
    except QueryError as refusal:
        error = refusal
    else:
        assert len(page.documents) <= len(documents)
        return
    assert all(set(item) == {"pointer", "detail"} for item in error.errors)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(DOCUMENTS, PIPELINES)
def test_any_pipeline(documents: list[dict[str, Any]], pipeline: list[dict[str, Any]]) -> None:
    database = Database({f"{n}": document for n, document in enumerate(documents)})
    try:
        request = parse_aggregate("c", {"pipeline": pipeline})
        aggregate(database.machine.view, request, limits=LIMITS)
    except QueryError as refusal:
        error = refusal
    else:
        return
    assert all(item["pointer"].startswith("/") for item in error.errors)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(DOCUMENTS, CALLS, FOLDS)
def test_any_function_of_any_values(
    documents: list[dict[str, Any]], call: dict[str, Any], fold: dict[str, Any]
) -> None:
    database = Database({f"{n}": document for n, document in enumerate(documents)})
    for stages in ([{"$group": {"_id": call, "x": fold}}], [{"$project": {"x": call}}]):
        request = parse_aggregate("c", {"pipeline": stages})
        try:
            aggregate(database.machine.view, request, limits=LIMITS)
        except QueryError as refusal:
            error = refusal
        else:
            continue
        assert all(item["pointer"].startswith("/pipeline/0/") for item in error.errors)
