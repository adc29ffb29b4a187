"""What an index is: its fields and options, checked, and which documents belong in it."""

import operator as operators
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from dataplane.documents.commands import IndexPut
from dataplane.documents.errors import invalid
from dataplane.documents.ordering import SortKey, rank, sort_key
from dataplane.documents.partial_reading import META
from dataplane.documents.paths import MISSING, terminals
from dataplane.documents.values import (
    Json,
    check_document,
    escape_pointer,
    pack_document,
    unpack_document,
)

FIELDS_MAX: Final = 8
PATH_PARTS_MAX: Final = 8
PATH_LENGTH_MAX: Final = 256
CONDITIONS_MAX: Final = 16
OPERANDS_MAX: Final = 100
PARTIAL_BYTES_MAX: Final = 8 * 1024
LOOKED_AT_MAX: Final = 20_000
"""Values that one index looks at in one document."""
EXPIRE_MAX_S: Final = 10 * 365 * 86_400

type Path = tuple[str, ...]
type Condition = tuple[Path, str, Any]
"""A path, an operator, and what it is compared with."""
type Meets = Callable[[Any], bool]

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "double": (float,),
    "number": (int, float),
    "string": (str,),
    "object": (dict,),
    "array": (list,),
}
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_SIDES: Final[dict[str, Callable[[SortKey, SortKey], bool]]] = {
    "$gt": operators.gt,
    "$gte": operators.ge,
    "$lt": operators.lt,
    "$lte": operators.le,
}
_KNOWN: Final = frozenset({"fields", "unique", "sparse", "partial", "expire_after_s"})


class Definition(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, eq=True):
    """An index as it was asked for. Without fields it only makes documents expire."""

    fields: tuple[tuple[str, int], ...]
    unique: bool = False
    sparse: bool = False
    partial: bytes | None = None
    """MessagePack of the filter that documents in the index fit."""
    expire_after_s: int | None = None


_encode = msgspec.msgpack.Encoder(order="sorted").encode
decode_definition = msgspec.msgpack.Decoder(Definition).decode


def encode_definition(definition: Definition) -> bytes:
    """Return the one encoding of a definition."""
    return _encode(definition)


def parse_definition(body: Json) -> Definition:
    """Return the definition that a JSON body asks for.

    Raises:
        Refusal: `invalid`.
    """
    for name in sorted(body):
        if name not in _KNOWN:
            raise invalid(f"/{escape_pointer(name)}", "unknown field")
    given = body.get("fields")
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise invalid("/fields", 'an object such as {"a":1,"b.c":-1} is needed')
    partial, expire = body.get("partial"), body.get("expire_after_s")
    if partial is not None and not isinstance(partial, dict):
        raise invalid("/partial", "a filter is needed")
    definition = Definition(
        tuple([(path, direction) for path, direction in pairs]),
        _flag(body, "unique"),
        _flag(body, "sparse"),
        None if partial is None else _encode(partial),
        expire,
    )
    check_definition(definition)
    return definition


def definition_of(operation: IndexPut) -> Definition:
    """Return what an operation asks for, its filter in the one encoding that it has.

    Raises:
        Refusal: `invalid`, `malformed`.
    """
    check_index_name(operation.name)
    partial = operation.partial
    if partial is not None:
        if len(partial) > PARTIAL_BYTES_MAX:
            raise invalid("/partial", f"over {PARTIAL_BYTES_MAX} bytes")
        partial = pack_document(unpack_document(check_document(partial, reserved=False)))
    options = operation.unique, operation.sparse, partial, operation.expire_after_s
    return Definition(operation.fields, *options)


def check_index_name(name: str) -> None:
    """Refuse a name outside the documented pattern.

    Raises:
        Refusal: `invalid`.
    """
    if _NAME.fullmatch(name) is None:
        raise invalid("/name", "a name of an index matches ^[a-z][a-z0-9_-]{0,62}$")


def _flag(body: Json, name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"/{name}", "true or false is needed")
    return value


def check_definition(definition: Definition) -> None:
    """Refuse a definition that execution could not follow, whoever sent it.

    Raises:
        Refusal: `invalid`.
    """
    fields, expire = definition.fields, definition.expire_after_s
    if not 1 <= len(fields) <= FIELDS_MAX:
        raise invalid("/fields", f"1 to {FIELDS_MAX} fields")
    if len({path for path, _ in fields}) < len(fields):
        raise invalid("/fields", "a field occurs twice")
    for path, direction in fields:
        check_path(path, f"/fields/{escape_pointer(str(path))}")
        if isinstance(direction, bool) or direction not in {1, -1}:
            raise invalid(f"/fields/{escape_pointer(path)}", "1 or -1 is needed")
    if expire is not None:
        check_seconds(expire, "/expire_after_s")
        if len(fields) != 1 or definition.unique or fields[0][0] in {"_id", "_version"}:
            raise invalid("/expire_after_s", "is for an index on one field of dates")
    if definition.partial is not None:
        parse_partial(definition.partial)


def check_seconds(value: Any, pointer: str) -> None:
    """Refuse what is not a number of seconds until documents expire."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= EXPIRE_MAX_S:
        raise invalid(pointer, f"whole seconds, from 0 to {EXPIRE_MAX_S}")


def check_path(path: Any, pointer: str) -> None:
    """Refuse a path that leads nowhere.

    Raises:
        Refusal: `invalid`.
    """
    if not isinstance(path, str) or len(path) > PATH_LENGTH_MAX:
        raise invalid(pointer, f"a path of at most {PATH_LENGTH_MAX} characters is needed")
    parts = path.split(".")
    if "" in parts or len(parts) > PATH_PARTS_MAX or any(part[0] == "$" for part in parts):
        raise invalid(pointer, "not a valid path")
    if path.startswith("_") and path not in META:
        raise invalid(pointer, f"of the reserved names only {', '.join(META)}")


def parse_partial(packed: bytes) -> tuple[Condition, ...]:
    """Return the conditions of a partial index, all of which its documents meet.

    Raises:
        Refusal: `invalid`, `malformed`.
    """
    if len(packed) > PARTIAL_BYTES_MAX:
        raise invalid("/partial", f"over {PARTIAL_BYTES_MAX} bytes")
    given = unpack_document(check_document(packed, reserved=False))
    conditions = _conditions(given, "/partial")
    if not 1 <= len(conditions) <= CONDITIONS_MAX:
        raise invalid("/partial", f"1 to {CONDITIONS_MAX} conditions")
    return tuple(conditions)


def _conditions(given: Json, pointer: str) -> list[Condition]:
    found: list[Condition] = []
    for name in sorted(given):
        value, place = given[name], f"{pointer}/{escape_pointer(name)}"
        if name == "$and" and isinstance(value, list):
            # No deeper: a filter that says the same without nesting is easier to compare with.
            parts = [part for part in value if isinstance(part, dict) and "$and" not in part]
            if len(parts) < len(value):
                raise invalid(place, "an array of filters without $and is needed")
            for index, part in enumerate(parts):
                found += _conditions(part, f"{place}/{index}")
            continue
        check_path(name, place)
        path = tuple(name.split("."))
        is_operators = isinstance(value, dict) and any(key.startswith("$") for key in value)
        for operator, operand in sorted(value.items()) if is_operators else [("$eq", value)]:
            found.append(_condition(path, operator, operand, f"{place}/{operator}"))
    return found


def _condition(path: Path, operator: str, operand: Any, pointer: str) -> Condition:
    if operator == "$eq":
        is_known = True
    elif operator in _SIDES:
        is_known = operand is not None
    elif operator == "$in":
        is_known = isinstance(operand, list) and len(operand) <= OPERANDS_MAX
    elif operator == "$exists":
        is_known = operand is True
    else:
        is_known = operator == "$type" and isinstance(operand, str) and operand in _TYPES
    if not is_known:
        detail = "an index knows $eq, $in, $gt, $gte, $lt, $lte, $exists: true, $type, $and"
        raise invalid(pointer, detail)
    return path, operator, operand


class Looking:
    """Counts what one document has an index look at, and ends it at a number that nobody needs."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.done = 0

    def at(self, values: int) -> bool:
        """Count values; it is true, to stand in conditions.

        Raises:
            Refusal: `invalid`: they are too many.
        """
        self.done += values
        if self.done > LOOKED_AT_MAX:
            detail = f"index {self._name}: over {LOOKED_AT_MAX} values to look at in one document"
            raise invalid("", detail)
        return True

    def through(self, elements: list[Any]) -> bool:
        """Count the looking through an array."""
        return self.at(len(elements))

    def into(self, value: Any) -> None:
        """Count a value with all that it holds."""
        self.at(1)
        left = [value]
        while left:
            held = left.pop()
            if type(held) is list:
                self.at(len(held))
                left += held
            elif type(held) is dict:
                self.at(len(held))
                left += held.values()


def belongs(tests: Iterable[tuple[Path, str, Meets]], document: Json, looking: Looking) -> bool:
    """Say whether a document meets all conditions, as `tests_of` returns them.

    Raises:
        Refusal: `invalid`: there is too much to look at.
    """
    return all(_is_met(test, document, looking) for test in tests)


def tests_of(conditions: Iterable[Condition]) -> list[tuple[Path, str, Meets]]:
    """Return conditions with what their values are looked at by, made once and not for each."""
    return [(path, operator, meets(operator, operand)) for path, operator, operand in conditions]


def _is_met(test: tuple[Path, str, Meets], document: Json, looking: Looking) -> bool:
    path, operator, is_fit = test
    for value in terminals(document.get(path[0], MISSING), path[1:], looking.through, 1):
        if operator == "$exists":
            looking.at(1)
        else:
            looking.into(value)
        if is_fit(value):
            return True
        is_spread = type(value) is list and operator != "$exists"
        if is_spread and any(map(is_fit, value)):
            return True
    return False


def value_meets(value: Any, operator: str, operand: Any) -> bool:
    """Say whether a single value meets an operator of a partial index."""
    return meets(operator, operand)(value)


def meets(operator: str, operand: Any) -> Meets:
    """Return what says whether a single value meets an operator of a partial index."""
    if operator == "$exists":
        return lambda value: value is not MISSING
    if operator == "$type":
        return lambda value: type(value) in _TYPES[operand]
    if operator in _SIDES:
        return _on_side(_SIDES[operator], sort_key(operand))
    operands = operand if operator == "$in" else [operand]
    keys, takes_missing = frozenset(map(sort_key, operands)), None in operands
    return lambda value: takes_missing if value is MISSING else sort_key(value) in keys


def _on_side(is_beyond: Callable[[SortKey, SortKey], bool], edge: SortKey) -> Meets:
    place = edge[0]

    def is_fit(value: Any) -> bool:
        return value is not MISSING and rank(value) == place and is_beyond(sort_key(value), edge)

    return is_fit


def roots_of(definition: Definition) -> set[str]:
    """Return the top-level names that say where a document belongs in an index."""
    names = {path.split(".", 1)[0] for path, _ in definition.fields} or {"_updated"}
    if definition.partial is not None:
        names |= {path[0] for path, _, _ in parse_partial(definition.partial)}
    return names


def definition_body(definition: Definition) -> Json:
    """Return a definition as it was asked for."""
    body: Json = {"fields": dict(definition.fields)}
    if definition.unique:
        body["unique"] = True
    if definition.sparse:
        body["sparse"] = True
    if definition.partial is not None:
        body["partial"] = msgspec.msgpack.decode(definition.partial)
    if definition.expire_after_s is not None:
        body["expire_after_s"] = definition.expire_after_s
    return body
