"""What a dotted path leads to inside a document."""

from collections.abc import Callable, Iterator
from typing import Any, Final

type Spend = Callable[[list[Any]], bool]
"""Counts the looking through a long array as work; it is true, to stand in conditions."""

MISSING: Final = object()
LONG: Final = 64
"""Arrays from so many elements on are counted as work."""
_INDEX_DIGITS_MAX: Final = 7


def terminals(
    value: Any, path: tuple[str, ...], spend: Spend | None = None, long: int = LONG
) -> Iterator[Any]:
    """Yield what a path leads to inside a value, `MISSING` where an object lacks the name.

    An array on the way leads to the element its index names and into each object it holds.
    `spend` is told of those of `long` elements and more.
    """
    for depth, name in enumerate(path):
        if type(value) is dict:
            value = value.get(name, MISSING)
        elif type(value) is list:
            if spend is not None and len(value) >= long:
                spend(value)
            index = index_of(name)
            if index is not None and index < len(value):
                yield from terminals(value[index], path[depth + 1 :], spend, long)
            for item in value:
                if type(item) is dict:
                    yield from terminals(item, path[depth:], spend, long)
            return
        else:
            yield MISSING
            return
    yield value


def index_of(name: str) -> int | None:
    """Return the index of an array that a part of a path names, None when it names none."""
    plain = name.isascii() and name.isdigit() and len(name) <= _INDEX_DIGITS_MAX
    return int(name) if plain else None
