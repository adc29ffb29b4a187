"""JSON in, values of one canonical form out."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents import operators, ordering
from dataplane.documents.errors import Refusal
from dataplane.documents.operators import apply_update
from dataplane.documents.ordering import sort_key
from dataplane.documents.values import (
    check_document,
    merge_patch,
    pack_document,
    parse_json_document,
    unpack_document,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
NAMES = st.text(max_size=4).filter(lambda name: not name.startswith("_"))
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a":1}x',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":[{"b":":"},{"c":1,"c":":"}]}',
        b'{"a:":1,"a\\u003a":2}',
        b'{"a":"\\u003a\\u003a","b":1,"b":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":' + b"9" * 400 + b"}",
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_not_a_document_is_malformed(text: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_json_document(text)
    assert caught.value.code == "malformed"


def test_too_long_is_too_large() -> None:
    with pytest.raises(Refusal) as caught:
        parse_json_document(b'{"a":"' + b"x" * 1024 * 1024 + b'"}')
    assert (caught.value.code, caught.value.status) == ("too_large", 413)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"[[[[' + b"[" * 200 + b'"}',
        b'{"a":"\\"[' + b"{" * 200 + b'"}',
        b'{"a":' + b"[" * 99 + b"]" * 99 + b"}",
        b'{"a":' + b"[{}," * 60 + b"1" + b"]" * 60 + b"}",
        '{"url":"http://x:80/","é":"ü:"}'.encode(),
        b'{"a":"\\u003a","b:":{"c":[]}}',
    ],
)
def test_what_only_looks_deep_or_doubled_is_taken(text: bytes) -> None:
    assert parse_json_document(text) == json.loads(text)


def test_numbers_are_normalised() -> None:
    text = b'{"z":-0.0,"n":-0,"big":9223372036854775808,"max":9223372036854775807,"e":1e2}'
    document = parse_json_document(text)
    assert repr(document["z"]) == "0.0"
    assert document["big"] == 2.0**63
    assert isinstance(document["big"], float)
    assert document["max"] == 2**63 - 1
    assert check_document(pack_document(document)) == pack_document(document)


@settings(derandomize=True, deadline=None)
@given(DOCUMENTS)
def test_a_parsed_document_is_what_was_sent(document: dict[str, object]) -> None:
    parsed = parse_json_document(json.dumps(document).encode())
    assert sort_key(parsed) == sort_key(document)
    body = pack_document(parsed)
    assert check_document(body) == body
    assert unpack_document(body) == parsed
    backwards = dict(reversed(parsed.items()))
    assert pack_document(backwards) == body


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=40))
def test_arbitrary_bytes_never_do_more_than_be_refused(data: bytes) -> None:
    for check in (check_document, parse_json_document):
        with contextlib.suppress(Refusal):
            check(data)


@pytest.mark.parametrize(
    "value",
    [b"\xc4\x01x", b"\xc7\x01\x05x", b"\xd6\xff\x00\x00\x00\x00", b"\x81\x01\x02", b"\xa1\xff"],
)
def test_what_json_cannot_say_is_refused(value: bytes) -> None:
    with pytest.raises(Refusal):
        check_document(b"\x81\xa1x" + value)


# The examples of RFC 7396, appendix A, whose targets and patches are objects.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: dict, patch: dict, result: dict) -> None:
    before = json.dumps(target)
    assert merge_patch(target, patch) == result
    assert json.dumps(target) == before


@pytest.mark.parametrize(
    ("old", "operators", "new"),
    [
        ({}, {"$set": {"a.b": 1}}, {"a": {"b": 1}}),
        ({"a": [1, {"b": 2}]}, {"$set": {"a.1.b": 3, "a.0": 0}}, {"a": [0, {"b": 3}]}),
        ({"a": [1]}, {"$set": {"a.1": 2}}, {"a": [1, 2]}),
        ({"a": {"b": 1, "c": 2}}, {"$unset": {"a.b": "", "x.y": ""}}, {"a": {"c": 2}}),
        ({"n": 1}, {"$inc": {"n": 2, "m": 5}}, {"n": 3, "m": 5}),
        ({"n": 1}, {"$inc": {"n": 0.5}}, {"n": 1.5}),
        ({"n": 3}, {"$mul": {"n": 2, "m": 5}}, {"n": 6, "m": 0}),
        ({"n": 3}, {"$min": {"n": 2, "m": 1}}, {"n": 2, "m": 1}),
        ({"n": 3}, {"$max": {"n": 2}}, {"n": 3}),
        ({"n": 3}, {"$max": {"n": "a"}}, {"n": "a"}),
        ({"a": 1, "b": {}}, {"$rename": {"a": "b.c", "x": "y"}}, {"b": {"c": 1}}),
        ({}, {"$push": {"a": 1}}, {"a": [1]}),
        ({"a": [1]}, {"$push": {"a": {"$each": [2, [3]]}}}, {"a": [1, 2, [3]]}),
        ({"a": [1, 2, 1.0, True]}, {"$pull": {"a": 1}}, {"a": [2, True]}),
        ({"a": [1]}, {"$addToSet": {"a": {"$each": [1.0, True, 2, 2]}}}, {"a": [1, True, 2]}),
    ],
)
def test_update_operators(old: dict, operators: dict, new: dict) -> None:
    before = json.dumps(old)
    assert sort_key(apply_update(old, operators)) == sort_key(new)
    assert json.dumps(old) == before


@pytest.mark.parametrize(
    ("old", "operators"),
    [
        ({}, {}),
        ({}, {"a": 1}),
        ({}, {"$set": {}}),
        ({}, {"$set": 1}),
        ({}, {"$set": {"": 1}}),
        ({}, {"$set": {"a..b": 1}}),
        ({}, {"$set": {"_x": 1}}),
        ({}, {"$set": {"a": 1, "a.b": 2}}),
        ({}, {"$set": {"a": 1}, "$inc": {"a": 2}}),
        ({"a": 1}, {"$set": {"a.b": 2}}),
        ({"a": [1]}, {"$set": {"a.5": 2}}),
        ({"a": [1]}, {"$set": {"a.x": 2}}),
        ({"a": "x"}, {"$inc": {"a": 1}}),
        ({"a": True}, {"$inc": {"a": 1}}),
        ({}, {"$inc": {"a": "1"}}),
        ({"a": 2**63 - 1}, {"$inc": {"a": 1}}),
        ({"a": 2**62}, {"$mul": {"a": 2}}),
        ({"a": 1}, {"$push": {"a": 1}}),
        ({"a": []}, {"$push": {"a": {"$sort": 1}}}),
        ({"a": []}, {"$pull": {"a": {"$gt": 1}}}),
        ({}, {"$rename": {"a": 1}}),
        ({"a": 1}, {"$rename": {"a": "_b"}}),
        ({"a": {"b": 1}}, {"$rename": {"a": "a.b"}}),
    ],
)
def test_update_refusals(old: dict, operators: dict) -> None:
    with pytest.raises(Refusal) as caught:
        apply_update(old, operators)
    assert caught.value.code == "invalid"


def test_order_across_types() -> None:
    objects: list[object] = [{}, {"a": None}, {"a": 1}, {"b": 1}, {"b": 1, "c": 0}, {"a": "x"}]
    ordered = [None, -1, 0.5, 1, 2**60, "", "a", "b", *objects, [], [1], [1, 2], False, True]
    keys = [sort_key(value) for value in ordered]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_pulling_looks_at_the_value_once_however_long_the_array_is(monkeypatch) -> None:
    looked_at = 0

    def counted(value: object):
        nonlocal looked_at
        looked_at += len(value) if isinstance(value, list) else 1
        return sort_key(value)

    monkeypatch.setattr(operators, "sort_key", counted)
    monkeypatch.setattr(ordering, "sort_key", counted)
    long, value = [[]] * 3_000, [0] * 3_000
    assert apply_update({"a": [*long, value]}, {"$pull": {"a": value}}) == {"a": long}
    assert looked_at < 20_000, "as long as both together, and not as one times the other"


@settings(derandomize=True, deadline=None)
@given(VALUES, VALUES)
def test_the_order_is_total(left: object, right: object) -> None:
    smaller, larger = sort_key(left) < sort_key(right), sort_key(left) > sort_key(right)
    assert [smaller, larger, sort_key(left) == sort_key(right)].count(True) == 1


def test_operations_refuse_unknown_bytes() -> None:
    with pytest.raises(Refusal):
        check_document(msgspec.msgpack.encode([1]))
