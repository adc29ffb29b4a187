"""Three-way merges: what they promise for any documents."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents.errors import Refusal
from dataplane.documents.merging import (
    FIELDS_MAX,
    Field,
    merge_documents,
    pack_fields,
    unpack_fields,
)
from dataplane.documents.operators import apply_update
from dataplane.documents.values import INT_MAX, INT_MIN, pack_document

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([1.0, 0.5, "a", "b"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    ),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)
derandomized = settings(derandomize=True, max_examples=250, deadline=None)


def reversed_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reversed_names(value[name]) for name in reversed(value)}
    return [reversed_names(item) for item in value] if isinstance(value, list) else value


def packed(value: Any) -> bytes:
    return msgspec.msgpack.encode(value, order="sorted")


def shown(fields: list[Field]) -> list[tuple[str, bytes]]:
    return [(field.pointer, packed(field.sides)) for field in fields]


@derandomized
@given(documents, documents, documents)
def test_the_order_of_names_does_not_matter(base, mine, theirs):
    merged, fields = merge_documents(base, mine, theirs)
    again, same = merge_documents(*map(reversed_names, (base, mine, theirs)))
    assert packed(merged) == packed(again)
    assert shown(fields) == shown(same)


@derandomized
@given(documents, documents, documents)
def test_a_merge_done_twice_changes_nothing_more(base, mine, theirs):
    merged, fields = merge_documents(base, mine, theirs)
    if not fields:
        again, none = merge_documents(base, mine, merged)
        assert (packed(again), none) == (packed(merged), [])


@derandomized
@given(documents, documents, documents)
def test_the_two_sides_are_alike(base, mine, theirs):
    merged, fields = merge_documents(base, mine, theirs)
    other, mirrored = merge_documents(base, theirs, mine)
    assert [field.pointer for field in fields] == [field.pointer for field in mirrored]
    if not fields:
        assert packed(merged) == packed(other)


@derandomized
@given(documents, documents)
def test_a_side_that_changed_nothing_gives_way(base, other):
    assert packed(merge_documents(base, base, other)[0]) == packed(other)
    assert packed(merge_documents(base, other, base)[0]) == packed(other)
    merged, fields = merge_documents(base, other, other)
    assert (packed(merged), fields) == (packed(other), [])


@derandomized
@given(documents, documents, documents)
def test_nothing_given_is_changed_and_every_value_is_of_one_side(base, mine, theirs):
    before = packed([base, mine, theirs])
    merged, fields = merge_documents(base, mine, theirs)
    assert packed([base, mine, theirs]) == before
    touched = {field.pointer.split("/")[1] for field in fields}
    for name in {*base, *mine, *theirs} - touched:
        sides = [packed(side.get(name, "gone")) for side in (mine, theirs)]
        both_objects = all(isinstance(side.get(name), dict) for side in (mine, theirs))
        assert both_objects or packed(merged.get(name, "gone")) in sides


def test_a_conflict_names_the_field_and_all_three_values():
    base = {"city": {"name": "Oslo"}, "n": 1, "kept": 0}
    mine = {"city": {"name": "Bergen"}, "n": 2, "kept": 0, "new/~": 1}
    theirs = {"city": {"name": "Moss"}, "kept": 5, "new/~": 1.0}
    _, fields = merge_documents(base, mine, theirs)
    assert unpack_fields(pack_fields(fields)) == [
        {"pointer": "/city/name", "base": "Oslo", "mine": "Bergen", "theirs": "Moss"},
        {"pointer": "/n", "base": 1, "mine": 2},
        {"pointer": "/new~1~0", "mine": 1, "theirs": 1.0},
    ]


def test_what_is_told_of_conflicts_is_bounded():
    mine = {f"f{n:04}": "m" * 1000 for n in range(200)}
    theirs = dict.fromkeys(mine, "t" * 1000)
    data = pack_fields(merge_documents({}, mine, theirs)[1])
    told = unpack_fields(data)
    assert len(told) == FIELDS_MAX
    assert len(data) < 48 * 1024
    assert told[0]["mine"] == "m" * 1000
    assert told[-1] == {"pointer": "/f0099", "omitted": True}


numbers = st.one_of(st.integers(-(10**6), 10**6), st.integers(INT_MIN, INT_MAX))


def run(document: dict, updates: list[tuple[str, Any]]) -> bytes:
    for name, operand in updates:
        document = apply_update(document, {name: {"f": operand}})
    return pack_document(document)


@derandomized
@given(st.data(), st.sampled_from(["$inc", "$min", "$max", "$addToSet"]))
def test_commutative_operators_end_alike_in_any_order(data, name):
    operands = data.draw(st.lists(st.integers(-(10**6), 10**6), max_size=6))
    updates = [(name, operand) for operand in operands]
    shuffled = data.draw(st.permutations(updates))
    one, other = run({}, updates), run({}, shuffled)
    if name == "$addToSet":
        one, other = (bytes(sorted(side)) for side in (one, other))
    assert one == other


@derandomized
@given(numbers, numbers)
def test_an_increment_is_exact_or_refused(start, amount):
    total = start + amount
    if INT_MIN <= total <= INT_MAX:
        assert apply_update({"f": start}, {"$inc": {"f": amount}}) == {"f": total}
    else:
        with pytest.raises(Refusal, match="the result does not fit"):
            apply_update({"f": start}, {"$inc": {"f": amount}})


@derandomized
@given(st.lists(st.integers(0, 5), max_size=6), st.integers(0, 5))
def test_pull_after_add_leaves_nothing_of_the_value(items, value):
    added = apply_update({"f": items}, {"$addToSet": {"f": value}})
    assert added["f"].count(value) == max(1, items.count(value))
    assert value not in apply_update(added, {"$pull": {"f": value}})["f"]
