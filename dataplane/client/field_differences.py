"""What is different between two JSON documents, field by field."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_NOTHING: Final = object()

type Json = Mapping[str, Any]


class Difference(NamedTuple):
    """One field; `pointer` is a JSON Pointer (RFC 6901)."""

    pointer: str
    kind: str
    """added, removed or changed."""
    before: Any
    after: Any


def differences(before: Json, after: Json) -> Iterator[Difference]:
    """Yield how the second document differs, in the order of the names.

    Objects are looked into, arrays are compared as wholes: without a key, elements of two arrays
    have nothing to be told apart by. Names that the database reserves (`_version`) are left out.
    """
    return _between(own_fields(before), own_fields(after), "")


def own_fields(document: Json) -> dict[str, Any]:
    """Return what a writer gave: the document without what the database adds."""
    return {name: value for name, value in document.items() if not name.startswith("_")}


def _between(before: Json, after: Json, path: str) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        pointer = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        old, new = before.get(name, _NOTHING), after.get(name, _NOTHING)
        if old is _NOTHING:
            yield Difference(pointer, ADDED, None, new)
        elif new is _NOTHING:
            yield Difference(pointer, REMOVED, old, None)
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _between(old, new, pointer)
        elif not is_same(old, new):
            yield Difference(pointer, CHANGED, old, new)


def is_same(old: Any, new: Any) -> bool:
    """Whether two values are one as JSON: true is not 1, though Python says so."""
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(is_same, old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(is_same(old[name], new[name]) for name in old)
    return isinstance(old, bool) == isinstance(new, bool) and bool(old == new)
