"""One test a filter operator: functions of a field's value, built once for a query."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # The wheel carries no stubs.

from dataplane.documents.ordering import (
    RANK_ARRAY,
    RANK_NULL,
    RANK_NUMBER,
    RANK_OBJECT,
    RANK_STRING,
    equal,
    rank,
    sort_key,
)
from dataplane.query.types import QueryError

type Test = Callable[[Any], bool]

MISSING: Final = object()
IN_MAX: Final = 1_000
REGEX_LENGTH_MAX: Final = 1_000
REGEX_MEMORY_BYTES: Final = 2 * 1024 * 1024

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


def fail(pointer: str, detail: str) -> QueryError:
    """Return the error of one place in the query."""
    return QueryError([(pointer, detail)])


def terminals(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Yield what a path leads to inside a value, `MISSING` where an object lacks the name.

    An array on the way leads to the element its index names and into each object it holds.
    """
    for depth, name in enumerate(path):
        if type(value) is dict:
            value = value.get(name, MISSING)
        elif type(value) is list:
            if name.isascii() and name.isdigit() and len(name) < 8 and int(name) < len(value):
                yield from terminals(value[int(name)], path[depth + 1 :])
            for item in value:
                if type(item) is dict:
                    yield from terminals(item, path[depth:])
            return
        else:
            yield MISSING
            return
    yield value


def spread(test: Test) -> Test:
    """Return a test that an array also passes by one of its elements."""

    def test_or_element(value: Any) -> bool:
        return test(value) or (type(value) is list and any(map(test, value)))

    return test_or_element


def equals(operand: Any) -> Test:
    """Return the test of equality; null equals a missing field."""
    place = rank(operand)
    if place == RANK_STRING:
        return spread(lambda value: type(value) is str and value == operand)
    if place == RANK_NUMBER:
        return spread(lambda value: type(value) in {int, float} and value == operand)
    if place == RANK_NULL:
        return spread(lambda value: value is None or value is MISSING)
    if place in {RANK_OBJECT, RANK_ARRAY}:
        return spread(lambda value: value is not MISSING and equal(value, operand))
    return spread(lambda value: value is operand)


def contained(operand: Any, pointer: str) -> Test:
    """Return the test of `$in`."""
    if not isinstance(operand, list) or len(operand) > IN_MAX:
        raise fail(pointer, f"an array of at most {IN_MAX} values is needed")
    strings = frozenset(item for item in operand if isinstance(item, str))
    others = [equals(item) for item in operand if not isinstance(item, str)]
    among = spread(lambda value: type(value) is str and value in strings)
    if not others:
        return among
    return lambda value: among(value) or any(test(value) for test in others)


def compared(operator: str, operand: Any) -> Test:
    """Return the test of `$gt`, `$gte`, `$lt` or `$lte`: only values of one type compare."""
    place = rank(operand)
    if place == RANK_NULL:
        return equals(None) if operator in {"$gte", "$lte"} else _never
    if place in {RANK_NUMBER, RANK_STRING}:
        kinds = (str,) if place == RANK_STRING else (int, float)
        return spread(_simple_compared(operator, operand, kinds))
    key = sort_key(operand)
    decide = _DECISIONS[operator]

    def test(value: Any) -> bool:
        return value is not MISSING and rank(value) == place and decide(sort_key(value), key)

    return spread(test)


def _simple_compared(operator: str, operand: Any, kinds: tuple[type, ...]) -> Test:
    if operator == "$gt":
        return lambda value: type(value) in kinds and value > operand
    if operator == "$gte":
        return lambda value: type(value) in kinds and value >= operand
    if operator == "$lt":
        return lambda value: type(value) in kinds and value < operand
    return lambda value: type(value) in kinds and value <= operand


_DECISIONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$gt": lambda left, right: left > right,
    "$gte": lambda left, right: left >= right,
    "$lt": lambda left, right: left < right,
    "$lte": lambda left, right: left <= right,
}


def _never(_value: Any) -> bool:
    return False


def exists(operand: Any, pointer: str) -> Test:
    """Return the test of `$exists: true`, which the caller turns round for false."""
    if not isinstance(operand, bool):
        raise fail(pointer, "true or false is needed")
    return lambda value: value is not MISSING


def typed(operand: Any, pointer: str) -> Test:
    """Return the test of `$type`: one name or several."""
    names = operand if isinstance(operand, list) else [operand]
    if not names or any(not isinstance(name, str) or name not in _TYPES for name in names):
        raise fail(pointer, f"a type is one of {', '.join(sorted(_TYPES))}")
    kinds = frozenset(kind for name in names for kind in _TYPES[name])
    return spread(lambda value: type(value) in kinds)


def matched(operand: Any, options: Any, pointer: str) -> Test:
    """Return the test of `$regex`, in RE2 syntax."""
    if not isinstance(operand, str) or len(operand) > REGEX_LENGTH_MAX:
        raise fail(pointer, f"a pattern of at most {REGEX_LENGTH_MAX} characters is needed")
    if not isinstance(options, str) or not set(options) <= set("ims"):
        raise fail(pointer, "$options are letters out of i, m and s")
    settings = re2.Options()
    settings.max_mem = REGEX_MEMORY_BYTES
    settings.log_errors = False
    pattern = f"(?{options}){operand}" if options else operand
    try:
        search = re2.compile(pattern, settings).search
    except re2.error as error:
        raise fail(pointer, f"not an RE2 pattern: {error}") from error
    return spread(lambda value: type(value) is str and search(value) is not None)


def sized(operand: Any, pointer: str) -> Test:
    """Return the test of `$size`."""
    if isinstance(operand, bool) or not isinstance(operand, int) or operand < 0:
        raise fail(pointer, "a number of elements is needed")
    return lambda value: type(value) is list and len(value) == operand


def all_of(operand: Any, pointer: str) -> Test:
    """Return the test of `$all`."""
    if not isinstance(operand, list) or len(operand) > IN_MAX:
        raise fail(pointer, f"an array of at most {IN_MAX} values is needed")
    tests = [equals(item) for item in operand]
    return lambda value: bool(tests) and all(test(value) for test in tests)
