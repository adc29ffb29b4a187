"""What the functions of aggregation expressions do with values."""

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, Final, NamedTuple

from dataplane.documents.ordering import sort_key
from dataplane.documents.paths import MISSING
from dataplane.documents.values import INT_MAX, INT_MIN
from dataplane.query.filters import fail
from dataplane.query.types import QueryTooCostlyError
from dataplane.query.values import NUMBERS, order_key
from dataplane.query.work import weigh

type Run = Callable[..., Any]

COMPUTED_BYTES_MAX: Final = 4 * 1024 * 1024
TEXT_LENGTH_MAX: Final = 1024 * 1024


class Function(NamedTuple):
    """A function: how many arguments it takes, and how it is made for its place in the query."""

    arguments: tuple[int, int]
    at: Callable[[str], Run]


def reach(value: Any, path: tuple[str, ...]) -> Any:
    """Return what a path leads to; of an array that is what its objects hold, as an array."""
    for depth, name in enumerate(path):
        if type(value) is dict:
            value = value.get(name, MISSING)
        elif type(value) is list:
            found = [reach(item, path[depth:]) for item in value if type(item) is dict]
            return [item for item in found if item is not MISSING]
        else:
            return MISSING
    return value


def object_of(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    """Return an object without the members that are missing."""
    members = zip(names, values, strict=True)
    return {name: value for name, value in members if value is not MISSING}


def bounded[T](value: T, pointer: str) -> T:
    """Return a value that a query put together, unless it holds its parts too many times over.

    Raises:
        QueryTooCostlyError: It is too large or too deep.
    """
    if weigh(value, COMPUTED_BYTES_MAX) > COMPUTED_BYTES_MAX:
        raise QueryTooCostlyError([(pointer, "the value would be too large")])
    return value


def is_true(value: Any) -> bool:
    """Return the truth of any value: null, false, zero and what is missing are false."""
    if value is None or value is MISSING or value is False:
        return False
    return value != 0 if type(value) in NUMBERS else True


def in_range(number: float, pointer: str) -> int | float:
    """Return a number as documents may hold it.

    Raises:
        QueryError: It is out of range.
    """
    try:
        if type(number) is int:
            return number if INT_MIN <= number <= INT_MAX else float(number)
    except OverflowError as error:
        raise fail(pointer, "the result is out of range") from error
    if not math.isfinite(number):
        raise fail(pointer, "the result is out of range")
    return number + 0.0


def _is_null(values: tuple[Any, ...]) -> bool:
    return any(value is None or value is MISSING for value in values)


def _numeric(name: str, arguments: tuple[int, int], work: Callable[..., Any]) -> Function:
    def at(pointer: str) -> Run:
        def run(*values: Any) -> Any:
            if _is_null(values):
                return None
            if any(type(value) not in NUMBERS for value in values):
                raise fail(pointer, f"{name} needs numbers")
            try:
                return in_range(work(*values), pointer)
            except (ZeroDivisionError, OverflowError) as error:
                raise fail(pointer, f"{name} has no result") from error

        return run

    return Function(arguments, at)


def _textual(name: str, arguments: tuple[int, int], work: Callable[..., Any]) -> Function:
    def at(pointer: str) -> Run:
        def run(*values: Any) -> Any:
            if _is_null(values):
                return None
            if any(not isinstance(value, str) for value in values):
                raise fail(pointer, f"{name} needs strings")
            if sum(map(len, values)) > TEXT_LENGTH_MAX:
                raise QueryTooCostlyError([(pointer, "the text would be too long")])
            return work(*values)

        return run

    return Function(arguments, at)


def _compared(decide: Callable[[Any, Any], bool]) -> Function:
    def run(left: Any, right: Any) -> bool:
        return decide(order_key(left), order_key(right))

    return Function((2, 2), lambda _pointer: run)


def _remainder(left: float, right: float) -> int | float:
    """Return the remainder with the sign of the dividend, exactly for integers."""
    if type(left) is int and type(right) is int:
        remainder = abs(left) % abs(right)
        return -remainder if left < 0 else remainder
    if right == 0:
        raise ZeroDivisionError
    return math.fmod(left, right)


def _round(value: float, places: float = 0) -> int | float:
    if type(places) is not int or not -20 <= places <= 100:
        raise OverflowError
    return round(value, places)


def _size_at(pointer: str) -> Run:
    def run(value: Any) -> int:
        if type(value) is not list:
            raise fail(pointer, "$size needs an array")
        return len(value)

    return run


def _element_at(pointer: str) -> Run:
    def run(value: Any, index: Any) -> Any:
        if _is_null((value, index)):
            return None
        if type(value) is not list or type(index) is not int:
            raise fail(pointer, "$arrayElemAt needs an array and an index")
        return value[index] if -len(value) <= index < len(value) else MISSING

    return run


def _member_at(pointer: str) -> Run:
    def run(value: Any, options: Any) -> bool:
        if type(options) is not list:
            raise fail(pointer, "$in needs an array")
        key = order_key(value)
        return any(sort_key(option) == key for option in options)

    return run


def _part_at(pointer: str) -> Run:
    def run(text: Any, start: Any, count: Any) -> str:
        if _is_null((text,)):
            return ""
        numbers = type(start) is int and type(count) is int
        if not isinstance(text, str) or not numbers or start < 0 or count < 0:
            raise fail(pointer, "$substrCP needs a string, a start and a count")
        return text[start : start + count]

    return run


def _cased_at(work: Callable[[str], str]) -> Callable[[str], Run]:
    def at(pointer: str) -> Run:
        def run(text: Any) -> str:
            if _is_null((text,)):
                return ""
            if not isinstance(text, str):
                raise fail(pointer, "a string is needed")
            return work(text)

        return run

    return at


FUNCTIONS: Final[dict[str, Function]] = {
    "$add": _numeric("$add", (1, 50), lambda *values: reduce(lambda x, y: x + y, values)),
    "$multiply": _numeric("$multiply", (1, 50), lambda *values: reduce(lambda x, y: x * y, values)),
    "$subtract": _numeric("$subtract", (2, 2), lambda left, right: left - right),
    "$divide": _numeric("$divide", (2, 2), lambda left, right: left / right),
    "$mod": _numeric("$mod", (2, 2), _remainder),
    "$abs": _numeric("$abs", (1, 1), abs),
    "$floor": _numeric("$floor", (1, 1), math.floor),
    "$ceil": _numeric("$ceil", (1, 1), math.ceil),
    "$round": _numeric("$round", (1, 2), _round),
    "$concat": _textual("$concat", (1, 50), lambda *values: "".join(values)),
    "$toLower": Function((1, 1), _cased_at(str.lower)),
    "$toUpper": Function((1, 1), _cased_at(str.upper)),
    "$substrCP": Function((3, 3), _part_at),
    "$size": Function((1, 1), _size_at),
    "$arrayElemAt": Function((2, 2), _element_at),
    "$in": Function((2, 2), _member_at),
    "$not": Function((1, 1), lambda _pointer: lambda value: not is_true(value)),
    "$eq": _compared(lambda left, right: left == right),
    "$ne": _compared(lambda left, right: left != right),
    "$gt": _compared(lambda left, right: left > right),
    "$gte": _compared(lambda left, right: left >= right),
    "$lt": _compared(lambda left, right: left < right),
    "$lte": _compared(lambda left, right: left <= right),
}
