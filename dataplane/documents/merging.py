"""Three-way merges of documents, field by field: pure, and the same whatever the order of names.

Objects are merged member by member; every other value, arrays included, is one field. Values are
equal when their packed bytes are: 1 and 1.0 differ, so a merge never depends on which side it
calls its own.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dataplane.documents.values import Json, escape_pointer

FIELDS_MAX: Final = 100
FIELDS_BYTES_MAX: Final = 32 * 1024

_encoder = msgspec.msgpack.Encoder(order="sorted")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Field:
    """A field that both sides changed, and differently; a side without it has no entry."""

    pointer: str
    sides: Json


def merge_documents(base: Json, mine: Json, theirs: Json) -> tuple[Json, list[Field]]:
    """Merge two changes of one document.

    Returns:
        The merged document, and the fields of which neither side can be taken; the document is of
        use only when there are none.
    """
    conflicts: list[Field] = []
    return _merge_objects(base, mine, theirs, ("", conflicts)), conflicts


def _merge_objects(
    base: Json, mine: Json, theirs: Json, place: tuple[str, list[Field]]
) -> dict[str, Any]:
    pointer, conflicts = place
    merged: dict[str, Any] = {}
    for name in sorted({*base, *mine, *theirs}):
        sides = [side.get(name, _MISSING) for side in (base, mine, theirs)]
        here = f"{pointer}/{escape_pointer(name)}", conflicts
        value = _merge_values(sides[0], sides[1], sides[2], here)
        if value is not _MISSING:
            merged[name] = value
    return merged


def _merge_values(base: Any, mine: Any, theirs: Any, place: tuple[str, list[Field]]) -> Any:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return _merge_objects(base if isinstance(base, dict) else {}, mine, theirs, place)
    if _is_same(mine, base):
        return theirs
    if _is_same(theirs, base) or _is_same(mine, theirs):
        return mine
    named = (("base", base), ("mine", mine), ("theirs", theirs))
    sides = {side: value for side, value in named if value is not _MISSING}
    place[1].append(Field(place[0], sides))
    return mine


def _is_same(left: Any, right: Any) -> bool:
    if left is _MISSING or right is _MISSING:
        return left is right
    return _encoder.encode(left) == _encoder.encode(right)


def pack_fields(fields: list[Field]) -> bytes:
    """Pack conflicting fields for a result: at most `FIELDS_MAX`, values only while they fit."""
    packed: list[Json] = []
    left_bytes = FIELDS_BYTES_MAX
    for field in fields[:FIELDS_MAX]:
        entry = {"pointer": field.pointer, **field.sides}
        size_bytes = len(_encoder.encode(entry))
        if size_bytes > left_bytes:
            entry = {"pointer": field.pointer[:256], "omitted": True}
        else:
            left_bytes -= size_bytes
        packed.append(entry)
    return _encoder.encode(packed)


def unpack_fields(data: bytes) -> list[dict[str, Any]]:
    """Return what `pack_fields` packed."""
    return msgspec.msgpack.decode(data, type=list[dict[str, Any]])
