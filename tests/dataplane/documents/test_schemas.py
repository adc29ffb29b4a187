"""JSON Schema: the official tests, bounded work, and what a collection with a schema refuses."""

import itertools
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents.commands import (
    CollectionPut,
    Create,
    OpResult,
    Patch,
    Put,
    Transact,
    Update,
)
from dataplane.documents.errors import Refusal
from dataplane.documents.schemas import Schema, compile_schema
from dataplane.documents.schemas.compiler import NODES_MAX, PATTERNS_MAX
from dataplane.documents.schemas.run import ERRORS_MAX
from dataplane.documents.state import StateMachine
from dataplane.documents.transactions import decode_outcome
from dataplane.documents.values import pack_document
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.test_state import GENESIS, Driver, doc

SUITE = json.loads((Path(__file__).parent / "schema_suite/draft2020-12.json").read_text())
LARGE = 1_000_000
REFUSED = ("only the whole schema has an id", "only references into the same schema are followed")
PATTERNS = ("not a pattern in RE2 syntax", "not supported")
STRICTER = {
    # Parts of addresses in quotes or brackets, which hardly anybody means.
    "a quoted string with a space in the local part is valid",
    "a quoted string with a double dot in the local part is valid",
    "a quoted string with a @ in the local part is valid",
    "an IPv4-address-literal after the @ is valid",
    "an IPv6-address-literal after the @ is valid",
}


@pytest.fixture
def memory() -> Driver:
    return Driver(MemoryStore())


def compiled(schema: Any) -> Schema | Refusal:
    try:
        return compile_schema(schema)
    except Refusal as refusal:
        return refusal


@pytest.mark.parametrize("name", sorted(SUITE))
def test_the_official_tests_pass_as_far_as_schemas_are_followed(name: str) -> None:
    followed = 0
    for group in SUITE[name]:
        schema = compiled(group["schema"])
        if isinstance(schema, Refusal):
            assert schema.errors[0][1] in REFUSED + PATTERNS, group["description"]
            continue
        followed += 1
        for case in group["tests"]:
            if case["description"] not in STRICTER:
                fits = not schema.faults(case["data"], LARGE)
                assert fits == case["valid"], (group["description"], case["description"])
    assert followed >= len(SUITE[name]) * 0.6 or name in {"ref", "anchor", "defs"}


def faults(schema: Any, value: Any) -> list[tuple[str, str]]:
    return compile_schema(schema).faults(value, len(json.dumps(value)))


def test_each_fault_is_told_where_it_is() -> None:
    schema = {
        "type": "object",
        "required": ["name", "a/b"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "a/b": True,
            "tags": {"type": "array", "items": {"enum": ["x", "y"]}, "uniqueItems": True},
            "when": {"format": "date"},
            "n": {"minimum": 1, "multipleOf": 0.1},
        },
    }
    value = {"name": "x", "tags": ["x", "z", "x"], "when": "2026-02-30", "n": 0.25, "more": 1}
    assert sorted(faults(schema, value)) == [
        ("/a~1b", "is required"),
        ("/more", "must not be here"),
        ("/n", "must be a multiple of 0.1"),
        ("/n", "must be at least 1"),
        ("/name", "must have at least 2 characters"),
        ("/tags", "must not have two equal elements"),
        ("/tags/1", "is none of the values allowed here"),
        ("/when", "must be of the format date"),
    ]
    many = faults({"items": {"type": "string"}}, list(range(1_000)))
    assert len(many) == ERRORS_MAX


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        (3, ""),
        ({"type": "text"}, "/type"),
        ({"type": [{}]}, "/type"),
        ({"properties": []}, "/properties"),
        ({"properties": {"a": {"minimum": "1"}}}, "/properties/a/minimum"),
        ({"required": ["a", "a"]}, "/required"),
        ({"required": [{}]}, "/required"),
        ({"anyOf": []}, "/anyOf"),
        ({"items": {"pattern": "(?=x)"}}, "/items/pattern"),
        ({"$ref": "https://example.com/schema"}, "/$ref"),
        ({"$ref": "#/nothing"}, "/$ref"),
        ({"$ref": "#nothing"}, "/$ref"),
        ({"$ref": f"#/allOf/{'1' * 5_000}", "allOf": [True]}, "/$ref"),
        ({"$ref": "#"}, ""),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#"}]}}}, None),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
        ({"items": {"$id": "x"}}, "/items/$id"),
        ({"$dynamicRef": "#a"}, "/$dynamicRef"),
        ({"properties": {"properties": {"$id": "x"}}}, "/properties/properties/$id"),
        ({"minLength": -1}, "/minLength"),
        ({"multipleOf": 0}, "/multipleOf"),
        ({"contains": {}, "minContains": 0.5}, "/minContains"),
    ],
)
def test_what_is_no_schema_is_refused_with_a_pointer(schema: Any, pointer: str | None) -> None:
    with pytest.raises(Refusal) as refused:
        compile_schema(schema)
    assert refused.value.code == "invalid"
    if pointer is not None:
        assert refused.value.errors[0][0] == f"/schema{pointer}"


def chain(length: int) -> dict[str, Any]:
    """Return a schema whose definitions refer to the next, each one twice."""
    names = [f"d{number}" for number in range(length)]
    definitions: dict[str, Any] = {
        name: {"allOf": [{"$ref": f"#/$defs/{after}"}, {"$ref": f"#/$defs/{after}"}]}
        for name, after in itertools.pairwise(names)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, names[-1]: {"type": "object"}}}


def test_schemas_that_would_take_for_ever_are_stopped() -> None:
    (fault,) = faults(chain(40), {})
    assert fault == ("", "it takes too much work to check against the schema")
    assert faults(chain(8), {}) == []
    # A long line of references nests, when it is followed, deeper than is allowed.
    line = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(900)}
    (fault,) = faults({"$ref": "#/$defs/d0", "$defs": {**line, "d900": True}}, {})
    assert fault == ("", "it nests too deep to check against the schema")
    tree = {"properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    value: dict[str, Any] = {}
    for _ in range(60):
        value = {"next": value}
    assert faults(tree, value)[0][0] == "/next" * 61
    with pytest.raises(Refusal):
        compile_schema({"properties": {f"p{n}": {} for n in range(NODES_MAX)}})
    with pytest.raises(Refusal):
        compile_schema({"allOf": [{"pattern": "a"} for _ in range(PATTERNS_MAX + 1)]})
    nested: Any = {}
    for _ in range(90):
        nested = {"not": nested}
    with pytest.raises(Refusal):
        compile_schema(nested)
    assert faults({"pattern": "^(a+)+$"}, "a" * 50_000 + "b") != []
    assert "characters for its pattern" in faults({"pattern": "a"}, "a" * 70_000)[0][1]


NAMES = st.sampled_from(["a", "b", "ab"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab", 1.0, 0.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
PLAIN = st.one_of(
    st.booleans(),
    st.fixed_dictionaries({"type": st.sampled_from(["null", "integer", "string", "object"])}),
    st.fixed_dictionaries({"const": VALUES}),
    st.fixed_dictionaries({"minimum": st.integers(-2, 2)}),
    st.fixed_dictionaries({"minLength": st.integers(0, 2), "pattern": st.sampled_from("ab")}),
    st.fixed_dictionaries({"required": st.lists(NAMES, unique=True)}),
    st.fixed_dictionaries({"uniqueItems": st.booleans(), "maxItems": st.integers(0, 3)}),
)


def compound(inner: Any) -> Any:
    some = st.lists(inner, min_size=1, max_size=3)
    members = st.dictionaries(NAMES, inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": members,
            "patternProperties": members,
            "additionalProperties": inner,
            "propertyNames": inner,
            "unevaluatedProperties": inner,
            "dependentSchemas": members,
            "prefixItems": some,
            "items": inner,
            "contains": inner,
            "unevaluatedItems": inner,
            "allOf": some,
            "anyOf": some,
            "oneOf": some,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    )


SCHEMAS = st.recursive(PLAIN, compound, max_leaves=10)


@given(SCHEMAS, st.lists(VALUES, min_size=3, max_size=6))
@settings(max_examples=200)
def test_it_judges_as_another_validator_does(schema: Any, values: list[Any]) -> None:
    reference = jsonschema.Draft202012Validator(schema)
    ours = compile_schema(schema)
    for value in values:
        found = ours.faults(value, LARGE)
        assert bool(found) != reference.is_valid(value), found


@given(st.recursive(VALUES | SCHEMAS, compound, max_leaves=12))
@settings(max_examples=200)
def test_anything_is_a_schema_or_refused(given_: Any) -> None:
    schema = compiled(given_)
    if isinstance(schema, Refusal):
        assert schema.code == "invalid"
    else:
        schema.faults({"a": [1, {"b": "x"}]}, 20)


# --- Collections ---------------------------------------------------------------------------------

PERSON = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "maximum": 150}},
}


def limit(driver: Driver, **options: Any) -> OpResult:
    return driver.do(CollectionPut("people", pack_document({"schema": PERSON, **options})))


def test_a_schema_decides_over_every_kind_of_write(memory: Driver) -> None:
    assert limit(memory).status == 201
    assert memory.do(Create("people", "a", doc(name="Ann"))).status == 201
    refused = [
        memory.do(Create("people", "b", doc())),
        memory.do(Put("people", "a", doc(age=3))),
        memory.do(Patch("people", "a", doc(name=None))),
        memory.do(Update("people", "a", pack_document({"$set": {"name": 3}}))),
    ]
    assert {(result.status, result.code) for result in refused} == {(422, "invalid")}
    assert [result.errors[0][0] for result in refused] == ["/name"] * 4
    assert memory.do(Patch("people", "a", doc(age=200))).errors == (
        ("/age", "must be at most 150"),
    )
    steps = Put("other", "x", doc()), Put("people", "a", doc(name=1))
    outcome = decode_outcome(memory.do(Transact(steps)).document or b"")
    assert (outcome.failed, outcome.results[0].code) == (1, "invalid")
    assert memory.machine.view.collection("other") is None
    again = StateMachine(memory.store, GENESIS)
    assert again.view.settings("people").schema is not None
    assert memory.do(CollectionPut("people", pack_document({}))).status == 200
    assert memory.do(Put("people", "a", doc())).status == 200


def test_a_wrong_schema_changes_nothing(memory: Driver) -> None:
    limit(memory)
    before = memory.machine.view.collection("people")
    for options in ({"schema": {"type": 3}}, {"schema": {}, "validation": "loose"}):
        result = memory.do(CollectionPut("people", pack_document(options)))
        assert (result.status, result.code) == (422, "invalid")
    assert memory.machine.view.collection("people") == before


def test_moderate_lets_what_did_not_fit_go_on(memory: Driver) -> None:
    memory.do(Put("people", "old", doc(age=3)))
    limit(memory, validation="moderate")
    assert memory.do(Patch("people", "old", doc(age=4))).status == 200
    assert memory.do(Put("people", "new", doc(age=3))).status == 422
    assert memory.do(Patch("people", "old", doc(name="Old"))).status == 200
    assert memory.do(Patch("people", "old", doc(name=None))).status == 422, "it did fit"
    limit(memory)
    assert memory.do(Patch("people", "old", doc(age=5))).status == 200
