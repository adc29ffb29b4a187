"""Filters compiled to closures over the fields they name."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from dataplane.documents.values import escape_pointer
from dataplane.query.operators import (
    MISSING,
    Test,
    all_of,
    compared,
    contained,
    equals,
    exists,
    fail,
    matched,
    sized,
    terminals,
    typed,
)

type Predicate = Callable[[Any], bool]
type Access = Callable[[str], Callable[[Any], Any]]
"""Name of a top-level field to a function of the row that reads it (`MISSING` when absent)."""

DEPTH_MAX: Final = 20
CONDITIONS_MAX: Final = 500
PATH_PARTS_MAX: Final = 32
_LOGICAL: Final = ("$and", "$or", "$nor")
_OPERATORS: Final[dict[str, Callable[[Any, str], Test]]] = {
    "$eq": lambda operand, _pointer: equals(operand),
    "$ne": lambda operand, _pointer: equals(operand),
    "$in": contained,
    "$nin": contained,
    "$exists": exists,
    "$type": typed,
    "$size": sized,
    "$all": all_of,
}


def roots(filter_: Mapping[str, Any]) -> set[str]:
    """Return the top-level names that a checked filter reads."""
    found: set[str] = set()
    for name, operand in filter_.items():
        if name in _LOGICAL:
            for part in operand:
                found |= roots(part)
        else:
            found.add(name.split(".", 1)[0])
    return found


def split_path(path: str, pointer: str) -> tuple[str, ...]:
    """Split a dotted path.

    Raises:
        QueryError: The path is empty in some part or too long.
    """
    parts = tuple(path.split("."))
    if "" in parts or len(parts) > PATH_PARTS_MAX:
        raise fail(pointer, "not a valid path")
    return parts


def access_dict(name: str) -> Callable[[Any], Any]:
    """Read fields of a plain object."""
    return lambda document: document.get(name, MISSING)


class FilterCompiler:
    """Compiles one filter, counting its conditions."""

    def __init__(self) -> None:
        self._conditions = 0

    def compile(
        self, filter_: Any, access: Access, pointer: str = "/filter", depth: int = 1
    ) -> Predicate:
        """Return the predicate of a filter object.

        Raises:
            QueryError: The filter is not valid.
        """
        if not isinstance(filter_, Mapping):
            raise fail(pointer, "an object is needed")
        if depth > DEPTH_MAX:
            raise fail(pointer, f"more than {DEPTH_MAX} levels")
        parts: list[Predicate] = []
        for name, operand in filter_.items():
            place = f"{pointer}/{escape_pointer(name)}"
            if name in _LOGICAL:
                parts.append(self._logical(name, operand, access, (place, depth)))
            elif name.startswith("$"):
                raise fail(place, "unknown operator")
            else:
                parts.append(self._field(name, operand, access, (place, depth)))
        return _all(parts)

    def _logical(
        self, name: str, operand: Any, access: Access, where: tuple[str, int]
    ) -> Predicate:
        pointer, depth = where
        if not isinstance(operand, list) or not operand:
            raise fail(pointer, "an array of filters is needed")
        parts = [
            self.compile(part, access, f"{pointer}/{index}", depth + 1)
            for index, part in enumerate(operand)
        ]
        if name == "$and":
            return _all(parts)
        if name == "$or":
            return lambda row: any(part(row) for part in parts)
        return lambda row: not any(part(row) for part in parts)

    def _field(self, name: str, operand: Any, access: Access, where: tuple[str, int]) -> Predicate:
        pointer, depth = where
        path = split_path(name, pointer)
        read = access(path[0])
        rest = path[1:]
        return _all(
            [
                _place(read, rest, test, negated=negated)
                for test, negated in self._tests(operand, pointer, depth)
            ]
        )

    def _tests(self, operand: Any, pointer: str, depth: int) -> list[tuple[Test, bool]]:
        """Return (test, negated) pairs; a negated one holds when no value passes."""
        self._conditions += 1
        if self._conditions > CONDITIONS_MAX:
            raise fail(pointer, f"more than {CONDITIONS_MAX} conditions")
        if not isinstance(operand, Mapping) or not any(key.startswith("$") for key in operand):
            return [(equals(operand), False)]
        tests: list[tuple[Test, bool]] = []
        for name, value in operand.items():
            place = f"{pointer}/{escape_pointer(name)}"
            if name == "$options":
                if "$regex" not in operand:
                    raise fail(place, "$options belongs to $regex")
            elif name == "$not":
                tests.append((self._inner(value, place, depth), True))
            elif name == "$regex":
                tests.append((matched(value, operand.get("$options", ""), place), False))
            else:
                tests.append(self._test(name, value, place, depth))
        return tests

    def _test(self, name: str, value: Any, pointer: str, depth: int) -> tuple[Test, bool]:
        if name in {"$gt", "$gte", "$lt", "$lte"}:
            return compared(name, value), False
        if name == "$elemMatch":
            return self._element(value, pointer, depth), False
        build = _OPERATORS.get(name)
        if build is None:
            raise fail(pointer, "unknown operator")
        if name == "$exists":
            return build(value, pointer), value is False
        return build(value, pointer), name in {"$ne", "$nin"}

    def _inner(self, operand: Any, pointer: str, depth: int) -> Test:
        """Return one test that holds when all operators of an object hold for a value."""
        if depth > DEPTH_MAX:
            raise fail(pointer, f"more than {DEPTH_MAX} levels")
        if not isinstance(operand, Mapping) or not operand:
            raise fail(pointer, "an object of operators is needed")
        if not all(key.startswith("$") for key in operand):
            raise fail(pointer, "only operators are allowed here")
        tests = self._tests(operand, pointer, depth + 1)
        return lambda value: all(test(value) is not negated for test, negated in tests)

    def _element(self, operand: Any, pointer: str, depth: int) -> Test:
        if not isinstance(operand, Mapping):
            raise fail(pointer, "an object is needed")
        if operand and all(key.startswith("$") and key not in _LOGICAL for key in operand):
            test = self._inner(operand, pointer, depth)
            return lambda value: type(value) is list and any(map(test, value))
        predicate = self.compile(operand, access_dict, pointer, depth + 1)
        return lambda value: (
            type(value) is list and any(predicate(item) for item in value if type(item) is dict)
        )


def _all(parts: list[Predicate]) -> Predicate:
    if not parts:
        return lambda _row: True
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        first, second = parts
        return lambda row: first(row) and second(row)

    return lambda row: all(part(row) for part in parts)


def _place(
    read: Callable[[Any], Any], rest: tuple[str, ...], test: Test, *, negated: bool
) -> Predicate:
    if not rest:
        if negated:
            return lambda row: not test(read(row))
        return lambda row: test(read(row))

    def anywhere(row: Any) -> bool:
        return any(map(test, terminals(read(row), rest))) is not negated

    return anywhere
