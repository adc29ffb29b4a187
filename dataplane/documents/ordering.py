"""The total order of values, across types: null, numbers, strings, objects, arrays, booleans."""

from typing import Any, Final

type SortKey = tuple[int, Any]

RANK_NULL: Final = 1
RANK_NUMBER: Final = 2
RANK_STRING: Final = 3
RANK_OBJECT: Final = 4
RANK_ARRAY: Final = 5
RANK_BOOL: Final = 6

_RANKS: Final[dict[type, int]] = {
    type(None): RANK_NULL,
    int: RANK_NUMBER,
    float: RANK_NUMBER,
    str: RANK_STRING,
    dict: RANK_OBJECT,
    list: RANK_ARRAY,
    bool: RANK_BOOL,
}


def rank(value: Any) -> int:
    """Return the place of the value's type in the order."""
    return _RANKS[type(value)]


def sort_key(value: Any) -> SortKey:
    """Return a key that orders values of any types; equal keys mean equal values.

    Integers and floats compare by exact value. Objects compare by their members in name order, each
    by type, then name, then value, as in MongoDB (whose members are in the order of insertion).
    """
    place = _RANKS[type(value)]
    if place == RANK_OBJECT:
        return place, tuple([_member_key(name, value[name]) for name in sorted(value)])
    if place == RANK_ARRAY:
        return place, tuple(map(sort_key, value))
    return place, 0 if value is None else value


def _member_key(name: str, value: Any) -> tuple[int, str, Any]:
    place, key = sort_key(value)
    return place, name, key
