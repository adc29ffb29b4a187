"""From the JSON body of a query to a checked request."""

from collections.abc import Mapping
from typing import Any, Final

from dataplane.documents.values import escape_pointer
from dataplane.query.filters import FilterParser, split_path
from dataplane.query.nodes import Every, Node
from dataplane.query.sorting import Order
from dataplane.query.types import (
    CURSOR_LENGTH_MAX,
    LIMIT_DEFAULT,
    LIMIT_MAX,
    OFFSET_MAX,
    QueryError,
    QueryRequest,
)

SORT_KEYS_MAX: Final = 8
PROJECTION_MAX: Final = 200
_KNOWN: Final = frozenset(
    {
        "filter",
        "sort",
        "projection",
        "limit",
        "offset",
        "after",
        "explain",
        "consistency",
    }
)


def parse_query(collection: str, body: Mapping[str, Any]) -> QueryRequest:
    """Check a query and return it; `consistency` is the caller's business and is not looked at.

    Raises:
        QueryError: With every fault found, each under its JSON Pointer.
    """
    errors: list[tuple[str, str]] = [
        (f"/{escape_pointer(name)}", "unknown field") for name in sorted(body) if name not in _KNOWN
    ]
    filter_ = body.get("filter", {})
    filters = FilterParser()
    where: Node = Every(())
    try:
        where = filters.filter(filter_, ("/filter", 1))
    except QueryError as error:
        errors += [(item["pointer"], item["detail"]) for item in error.errors]
    sort = parse_sort(body.get("sort"), "/sort", errors)
    projection = _projection(body.get("projection"), errors)
    limit = _number(body, "limit", (1, LIMIT_MAX, LIMIT_DEFAULT), errors)
    offset = _number(body, "offset", (0, OFFSET_MAX, 0), errors)
    after = body.get("after")
    if after is not None and (not isinstance(after, str) or len(after) > CURSOR_LENGTH_MAX):
        errors.append(("/after", "not a cursor"))
    explain = body.get("explain", False)
    if not isinstance(explain, bool):
        errors.append(("/explain", "true or false is needed"))
    if errors:
        raise QueryError(errors)
    return QueryRequest(
        collection=collection,
        filter=filter_,
        where=where,
        weight=filters.weight,
        sort=sort,
        projection=projection,
        limit=limit,
        offset=offset,
        after=after,
        explain=explain,
    )


def parse_sort(value: Any, pointer: str, errors: list[tuple[str, str]]) -> Order:
    """Return the checked order; faults go to `errors`."""
    if value is None:
        return ()
    if not isinstance(value, Mapping) or len(value) > SORT_KEYS_MAX:
        errors.append((pointer, f"an object of at most {SORT_KEYS_MAX} fields is needed"))
        return ()
    for path, direction in value.items():
        place = f"{pointer}/{escape_pointer(path)}"
        _check_path(path, place, errors)
        if not isinstance(direction, int | float) or direction is True or abs(direction) != 1:
            errors.append((place, "1 or -1 is needed"))
    return tuple(value.items())


def _projection(value: Any, errors: list[tuple[str, str]]) -> tuple[str, ...] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list)
        or len(value) > PROJECTION_MAX
        or not all(isinstance(path, str) for path in value)
    ):
        errors.append(("/projection", f"an array of at most {PROJECTION_MAX} paths is needed"))
        return None
    for index, path in enumerate(value):
        _check_path(path, f"/projection/{index}", errors)
    return tuple(value)


def _check_path(path: str, pointer: str, errors: list[tuple[str, str]]) -> None:
    try:
        parts = split_path(path, pointer)
    except QueryError as error:
        errors += [(item["pointer"], item["detail"]) for item in error.errors]
        return
    if any(part.startswith("$") for part in parts):
        errors.append((pointer, "not a valid path"))


def _number(
    body: Mapping[str, Any],
    name: str,
    bounds: tuple[int, int, int],
    errors: list[tuple[str, str]],
) -> int:
    low, high, default = bounds
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        errors.append((f"/{name}", f"a number from {low} to {high} is needed"))
        return default
    return value
