"""Databases whose collection has indexes, and generated definitions of such."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st

from dataplane.documents.commands import CollectionPut, IndexPut
from dataplane.documents.types import IndexRecord
from dataplane.documents.values import pack_document
from tests.dataplane.query.database import Database
from tests.dataplane.query.strategies import SCALARS, VALUES

PATHS = st.sampled_from(["a", "b", "c", "a.x", "b.y", "a.0", "_id"])
WAYS = st.sampled_from([1, -1])
PARTIALS = st.dictionaries(
    st.sampled_from(["a", "b", "a.x"]),
    st.one_of(
        SCALARS,
        SCALARS.filter(lambda value: value is not None).flatmap(
            lambda value: st.sampled_from(["$gt", "$gte", "$lt", "$lte"]).map(
                lambda operator: {operator: value}
            )
        ),
        st.lists(SCALARS, max_size=3).map(lambda values: {"$in": values}),
        st.just({"$exists": True}),
        st.sampled_from(["number", "string", "array"]).map(lambda name: {"$type": name}),
    ),
    min_size=1,
    max_size=1,
)
DEFINITIONS = st.builds(
    lambda fields, sparse, partial: {"fields": fields, "sparse": sparse, "partial": partial},
    st.builds(
        lambda first, more: first | {path: way for path, way in more.items() if path not in first},
        st.dictionaries(st.sampled_from(["a", "b"]), WAYS, min_size=1, max_size=1),
        st.dictionaries(PATHS, WAYS, max_size=1),
    ),
    st.sampled_from([False, False, False, True]),
    st.one_of(st.none(), st.none(), st.none(), PARTIALS),
)
INDEXES = st.lists(DEFINITIONS, min_size=2, max_size=3)
# Arrays in two fields of one index are refused, so most documents have plain values.
MOSTLY_PLAIN = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.one_of(
        SCALARS,
        SCALARS,
        st.sampled_from(["x" * 300 + tail for tail in ("", "a", "b")]),
        st.dictionaries(st.sampled_from(["x", "y"]), SCALARS, max_size=2),
        st.lists(SCALARS, max_size=3),
        VALUES,
    ),
    max_size=3,
)


@contextmanager
def small_steps() -> Iterator[None]:
    """Let queries read entries and documents one by one, so that it shows where they stop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dataplane.query.executor.WALK_STEP", 1)
        patch.setattr("dataplane.query.access.PEEK", 2)
        yield


def add_index(database: Database, name: str, definition: dict[str, Any]) -> IndexRecord:
    """Make an index and return it as it is once everything is built."""
    partial = definition.get("partial")
    operation = IndexPut(
        "c",
        name,
        tuple(definition["fields"].items()),
        definition.get("unique", False),
        definition.get("sparse", False),
        None if partial is None else pack_document(partial),
    )
    database.write(operation)
    while database.machine.maintenance.is_due(math.inf):
        database.write(CollectionPut("other", pack_document({})))
    return next(found for found in database.machine.view.indexes("c") if found.name == name)


def plan(database: Database, **body: Any) -> dict[str, Any]:
    explained = database.page(**body, explain=True).plan
    assert explained is not None
    return explained
