"""Filters and sorts as a slow interpreter of plain documents, written apart from the compiler."""

import functools
import re
from typing import Any

MISSING = object()
TYPES = {
    "null": lambda v: v is None,
    "bool": lambda v: isinstance(v, bool),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "double": lambda v: isinstance(v, float),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
}


def place(value: Any) -> int:
    for rank, name in enumerate(["null", "number", "string", "object", "array", "bool"]):
        if TYPES[name](value):
            return rank
    raise AssertionError(value)


def compare(left: Any, right: Any) -> int:  # noqa: C901, PLR0911  # One case a line.
    """MongoDB's order: by type, then by value; objects by type, name, value of each member."""
    if place(left) != place(right):
        return -1 if place(left) < place(right) else 1
    if isinstance(left, dict):
        for (name, value), (other_name, other) in zip(
            sorted(left.items()), sorted(right.items()), strict=False
        ):
            if place(value) != place(other):
                return -1 if place(value) < place(other) else 1
            if name != other_name:
                return -1 if name < other_name else 1
            if compare(value, other):
                return compare(value, other)
        return (len(left) > len(right)) - (len(left) < len(right))
    if isinstance(left, list):
        for value, other in zip(left, right, strict=False):
            if compare(value, other):
                return compare(value, other)
        return (len(left) > len(right)) - (len(left) < len(right))
    if left is None:
        return 0
    return (left > right) - (left < right)


def reach(value: Any, parts: list[str]) -> list[Any]:
    if not parts:
        return [value]
    if isinstance(value, dict):
        return reach(value[parts[0]], parts[1:]) if parts[0] in value else [MISSING]
    if isinstance(value, list):
        found = []
        if parts[0].isdigit() and int(parts[0]) < len(value):
            found += reach(value[int(parts[0])], parts[1:])
        for item in value:
            if isinstance(item, dict):
                found += reach(item, parts)
        return found
    return [MISSING]


def with_elements(value: Any) -> list[Any]:
    return [value, *value] if isinstance(value, list) else [value]


def passes(  # noqa: PLR0911  # One case an operator.
    value: Any, operator: str, operand: Any, options: str = "", *, is_element: bool = False
) -> bool:
    """Say whether one value, or an element of it, passes; an element at hand is not opened."""
    each = [value] if is_element else with_elements(value)
    match operator:
        case "$eq":
            return any(
                operand is None if item is MISSING else compare(item, operand) == 0 for item in each
            )
        case "$in":
            return any(passes(value, "$eq", o, is_element=is_element) for o in operand)
        case "$gt" | "$gte" | "$lt" | "$lte":
            wanted = {"$gt": {1}, "$gte": {0, 1}, "$lt": {-1}, "$lte": {-1, 0}}[operator]
            present = [(None if item is MISSING and operand is None else item) for item in each]
            return any(
                item is not MISSING
                and place(item) == place(operand)
                and compare(item, operand) in wanted
                for item in present
            )
        case "$exists":
            return value is not MISSING
        case "$type":
            names = operand if isinstance(operand, list) else [operand]
            return any(item is not MISSING and TYPES[n](item) for item in each for n in names)
        case "$regex":
            flags = sum(getattr(re, letter.upper()) for letter in options)
            return any(
                isinstance(i, str) and re.search(operand, i, flags) is not None for i in each
            )
        case "$size":
            return isinstance(value, list) and len(value) == operand
        case "$elemMatch":
            return isinstance(value, list) and any(element(item, operand) for item in value)
    raise AssertionError(operator)


def element(item: Any, operand: dict[str, Any]) -> bool:
    logical = {"$and", "$or", "$nor"}
    if operand and all(name.startswith("$") and name not in logical for name in operand):
        return meet([item], operand, is_element=True)
    return isinstance(item, dict) and matches(item, operand)


NEGATIVE = {"$ne": "$eq", "$nin": "$in"}


def meet(values: list[Any], conditions: dict[str, Any], *, is_element: bool = False) -> bool:
    """Say whether every condition is met, each by some value; negations by none."""
    for operator, operand in conditions.items():
        if operator in NEGATIVE:
            held = not meet(values, {NEGATIVE[operator]: operand}, is_element=is_element)
        elif operator == "$not":
            held = not meet(values, operand, is_element=is_element)
        elif operator == "$all":
            held = bool(operand) and all(
                meet(values, one_of_all(item), is_element=is_element) for item in operand
            )
        elif operator == "$options":
            held = True
        else:
            options = conditions.get("$options", "")
            held = any(passes(v, operator, operand, options, is_element=is_element) for v in values)
            if operator == "$exists":
                held = held == operand
        if not held:
            return False
    return True


def one_of_all(item: Any) -> dict[str, Any]:
    is_match = isinstance(item, dict) and list(item) == ["$elemMatch"]
    return item if is_match else {"$eq": item}


def matches(document: dict[str, Any], filter_: dict[str, Any]) -> bool:
    for name, operand in filter_.items():
        if name in {"$and", "$or", "$nor"}:
            held = [matches(document, part) for part in operand]
            if not {"$and": all(held), "$or": any(held), "$nor": not any(held)}[name]:
                return False
            continue
        conditions = operand
        if not isinstance(operand, dict) or not any(key.startswith("$") for key in operand):
            conditions = {"$eq": operand}
        if not meet(reach(document, name.split(".")), conditions):
            return False
    return True


def sort_value(document: dict[str, Any], path: str, way: int) -> Any:
    options: list[Any] = []
    for value in reach(document, path.split(".")):
        options += value if isinstance(value, list) else [None if value is MISSING else value]
    ordered = sorted(options, key=functools.cmp_to_key(compare))
    return ordered[0 if way == 1 else -1] if ordered else None


def ordered(documents: list[dict[str, Any]], sort: dict[str, int]) -> list[dict[str, Any]]:
    def before(left: dict[str, Any], right: dict[str, Any]) -> int:
        for path, way in sort.items():
            verdict = compare(sort_value(left, path, way), sort_value(right, path, way))
            if verdict:
                return verdict * way
        return compare(left.get("_id"), right.get("_id"))

    return sorted(documents, key=functools.cmp_to_key(before))
