"""What generated code calls: the parts of tests and sort keys that do not fit one expression."""

from collections.abc import Callable
from typing import Any, Final, override

from dataplane.documents.ordering import RANK_BOOL, RANK_NULL, RANK_NUMBER, rank, sort_key
from dataplane.documents.paths import LONG, MISSING, Spend, terminals

NUMBERS: Final = frozenset({int, float})


def same_as(operand: Any) -> Callable[[Any], bool]:
    """Return the test of equality with an object or an array."""
    kind, size, key = type(operand), len(operand), sort_key(operand)
    return lambda value: type(value) is kind and len(value) == size and sort_key(value) == key


def among(operands: tuple[Any, ...]) -> Callable[[Any], bool]:
    """Return the test of equality with one of several values; null equals what is missing."""
    has_null = None in operands
    keys = frozenset(map(sort_key, operands))
    sizes = frozenset(len(operand) for operand in operands if type(operand) in {dict, list})

    def holds(value: Any) -> bool:
        if value is MISSING:
            return has_null
        if type(value) in {dict, list} and len(value) not in sizes:
            return False
        return sort_key(value) in keys

    return holds


def ordered(operator: str, operand: Any) -> Callable[[Any], bool]:
    """Return the test of an order among booleans, objects or arrays."""
    place, key = rank(operand), sort_key(operand)
    decide = _DECISIONS[operator]
    # What follows the first element that the operand lacks decides nothing.
    part = slice(len(operand) + 1 if isinstance(operand, list) else None)

    def holds(value: Any) -> bool:
        if value is MISSING or rank(value) != place:
            return False
        return decide(sort_key(value[part] if type(value) is list else value), key)

    return holds


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


def least(value: Any, path: tuple[str, ...], spend: Spend | None = None) -> Any:
    """Return what a field sorts by upwards: of arrays the least element."""
    return _choose(value, path, spend, min)


def greatest(value: Any, path: tuple[str, ...], spend: Spend | None = None) -> Any:
    """Return what a field sorts by downwards: of arrays the greatest element."""
    return _choose(value, path, spend, max)


def _choose(
    value: Any, path: tuple[str, ...], spend: Spend | None, choose: Callable[..., Any]
) -> Any:
    if not path and type(value) is not list:
        return None if value is MISSING else value
    options: list[Any] = []
    for item in terminals(value, path, spend):
        if type(item) is list:
            if spend is not None and len(item) >= LONG:
                spend(item)
            options += item
        else:
            options.append(None if item is MISSING else item)
    return choose(options, key=sort_key) if options else None
