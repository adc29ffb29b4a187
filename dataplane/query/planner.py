"""How to find the candidates of a filter: by id, in a range of ids, or everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataplane.query.types import QueryRequest


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to look; the filter is applied to whatever is found there."""

    ids: tuple[str, ...] | None = None
    """The only ids that can match, in order."""
    low: str | None = None
    """No id below can match."""
    high: str | None = None
    """No id above can match."""

    @property
    def stage(self) -> str:
        """The name `explain` gives it."""
        if self.ids is not None:
            return "id_lookup"
        return "collection_scan" if self.low is None and self.high is None else "id_range"


def plan_query(request: QueryRequest) -> Plan:
    """Derive a plan from the conditions on `_id` that every match must meet."""
    ids: set[str] | None = None
    low: str | None = None
    high: str | None = None
    for operator, operand in _id_conditions(request.filter):
        if operator in {"$eq", "$in"}:
            wanted = operand if operator == "$in" else [operand]
            found = {item for item in wanted if isinstance(item, str)}
            ids = found if ids is None else ids & found
        elif not isinstance(operand, str):
            continue
        elif operator in {"$gt", "$gte"}:
            low = operand if low is None else max(low, operand)
        elif operator in {"$lt", "$lte"}:
            high = operand if high is None else min(high, operand)
    return Plan(None if ids is None else tuple(sorted(ids)), low, high)


def id_direction(request: QueryRequest) -> int | None:
    """Return 1 or -1 when the result is in the order of ids, None when it must be sorted."""
    if not request.sort:
        return 1
    path, direction = request.sort[0]
    # Ids are unique, so whatever is sorted by after `_id` decides nothing.
    return direction if path == "_id" else None


def _id_conditions(filter_: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, operand in filter_.items():
        if name == "$and":
            for part in operand:
                found += _id_conditions(part)
        elif name == "_id":
            operators = isinstance(operand, Mapping) and any(key.startswith("$") for key in operand)
            found += list(operand.items()) if operators else [("$eq", operand)]
    return found
