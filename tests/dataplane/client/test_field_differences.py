"""Differences between documents: applied to the one, they give the other."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from dataplane.client.field_differences import ADDED, REMOVED, differences

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.text("a/~", max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("a/~b", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text("a/~b", max_size=2), VALUES, max_size=4)


def strict(value):
    """Return a value in which true and 1 differ."""
    if isinstance(value, dict):
        return {name: strict(item) for name, item in value.items()}
    if isinstance(value, list):
        return [strict(item) for item in value]
    return (type(value).__name__, value)


def applied(before, found):
    after = copy.deepcopy(before)
    for pointer, kind, old, new in found:
        *path, name = [
            part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")
        ]
        inside = after
        for part in path:
            inside = inside[part]
        if kind == REMOVED:
            assert strict(inside.pop(name)) == strict(old)
            continue
        assert (name in inside) == (kind != ADDED)
        inside[name] = copy.deepcopy(new)
    return after


@given(DOCUMENTS, DOCUMENTS)
def test_differences_lead_from_the_one_to_the_other(before, after):
    found = list(differences(before, after))
    assert strict(applied(before, found)) == strict(after)
    assert not list(differences(after, copy.deepcopy(after)))


def test_what_the_database_adds_is_no_difference():
    assert not list(differences({"_version": 1, "a": 1}, {"_version": 2, "a": 1}))
    assert [field.pointer for field in differences({"a": 1}, {"a": True})] == ["/a"]
    assert not list(differences({"a": 1}, {"a": 1.0})), "JSON has one kind of numbers"
