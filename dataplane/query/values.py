"""What generated code calls: the parts of tests and sort keys that do not fit one expression."""

from collections.abc import Callable, Iterator
from typing import Any, Final, override

from dataplane.documents.ordering import RANK_BOOL, RANK_NULL, RANK_NUMBER, rank, sort_key

MISSING: Final = object()
NUMBERS: Final = frozenset({int, float})
_INDEX_DIGITS_MAX: Final = 7


def terminals(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Yield what a path leads to inside a value, `MISSING` where an object lacks the name.

    An array on the way leads to the element its index names and into each object it holds.
    """
    for depth, name in enumerate(path):
        if type(value) is dict:
            value = value.get(name, MISSING)
        elif type(value) is list:
            index = index_of(name)
            if index is not None and index < len(value):
                yield from terminals(value[index], path[depth + 1 :])
            for item in value:
                if type(item) is dict:
                    yield from terminals(item, path[depth:])
            return
        else:
            yield MISSING
            return
    yield value


def index_of(name: str) -> int | None:
    """Return the index of an array that a part of a path names, None when it names none."""
    plain = name.isascii() and name.isdigit() and len(name) <= _INDEX_DIGITS_MAX
    return int(name) if plain else None


def same_as(operand: Any) -> Callable[[Any], bool]:
    """Return the test of equality with an object or an array."""
    kind, key = type(operand), sort_key(operand)
    return lambda value: type(value) is kind and sort_key(value) == key


def among(operands: tuple[Any, ...]) -> Callable[[Any], bool]:
    """Return the test of equality with one of several values; null equals what is missing."""
    has_null = None in operands
    keys = frozenset(map(sort_key, operands))

    def holds(value: Any) -> bool:
        if value is MISSING:
            return has_null
        return sort_key(value) in keys

    return holds


def ordered(operator: str, operand: Any) -> Callable[[Any], bool]:
    """Return the test of an order among booleans, objects or arrays."""
    place, key = rank(operand), sort_key(operand)
    decide = _DECISIONS[operator]
    return lambda value: (
        value is not MISSING and rank(value) == place and decide(sort_key(value), key)
    )


_DECISIONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$gt": lambda left, right: left > right,
    "$gte": lambda left, right: left >= right,
    "$lt": lambda left, right: left < right,
    "$lte": lambda left, right: left <= right,
}


class Falling:
    """A value of a sort key that has no negative, turned round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: "Falling") -> bool:
        return bool(other.value < self.value)

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Falling) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]  # Only ever compared.


def rising_key(value: Any) -> tuple[int, Any]:
    """Return the part of a sort key for a value that sorts upwards; what is missing is null."""
    return (RANK_NULL, 0) if value is MISSING else sort_key(value)


def falling_key(value: Any) -> tuple[int, Any]:
    """Return the part of a sort key for a value that sorts downwards."""
    place, key = rising_key(value)
    if place in {RANK_NUMBER, RANK_NULL, RANK_BOOL}:
        return -place, -key
    return -place, Falling(key)


def order_key(value: Any) -> tuple[int, Any]:
    """Return the place of a value in the total order; what is missing comes first."""
    return (0, 0) if value is MISSING else sort_key(value)


def least(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return what a field sorts by upwards: of arrays the least element."""
    return _choose(value, path, min)


def greatest(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return what a field sorts by downwards: of arrays the greatest element."""
    return _choose(value, path, max)


def _choose(value: Any, path: tuple[str, ...], choose: Callable[..., Any]) -> Any:
    if not path and type(value) is not list:
        return None if value is MISSING else value
    options: list[Any] = []
    for item in terminals(value, path):
        if type(item) is list:
            options += item
        else:
            options.append(None if item is MISSING else item)
    return choose(options, key=sort_key) if options else None
