"""How to find the candidates of a filter: by id, in a range of ids, or everywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dataplane.documents.capture import Capture
from dataplane.query.nodes import Among, Condition, Equal, Every, Node, Ordered, Test
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

    def describe(self) -> dict[str, Any]:
        """Return what `explain` says of it."""
        if self.ids is not None:
            return {"stage": "id_lookup", "ids": len(self.ids)}
        if self.low is None and self.high is None:
            return {"stage": "collection_scan"}
        return {"stage": "id_range", "range": {"from": self.low, "to": self.high}}

    def behind(self, place: str, *, reverse: bool) -> "Plan":
        """Return the plan for what lies from an id on."""
        if self.ids is not None:
            ids = [name for name in self.ids if (name < place if reverse else name > place)]
            return Plan(tuple(ids))
        if reverse:
            return Plan(None, self.low, place if self.high is None else min(self.high, place))
        return Plan(None, place if self.low is None else max(self.low, place), self.high)


def plan_filter(where: Node) -> Plan:
    """Derive a plan from the conditions on `_id` that every match must meet."""
    ids: set[str] | None = None
    low: str | None = None
    high: str | None = None
    for test in _id_tests(where):
        match test:
            case Equal() | Among():
                wanted = (test.value,) if isinstance(test, Equal) else test.values
                found = {item for item in wanted if isinstance(item, str)}
                ids = found if ids is None else ids & found
            case Ordered("$gt" | "$gte", str(operand)):
                low = operand if low is None else max(low, operand)
            case Ordered("$lt" | "$lte", str(operand)):
                high = operand if high is None else min(high, operand)
            case _:
                pass
    return Plan(None if ids is None else tuple(sorted(ids)), low, high)


def id_direction(request: QueryRequest) -> int | None:
    """Return 1 or -1 when the result is in the order of ids, None when it must be sorted."""
    if not request.sort:
        return 1
    path, direction = request.sort[0]
    # Ids are unique, so whatever is sorted by after `_id` decides nothing.
    return direction if path == "_id" else None


def _id_tests(where: Node) -> list[Test]:
    match where:
        case Every(parts):
            return [test for part in parts for test in _id_tests(part)]
        case Condition(("_id",), test):
            return [test]
        case _:
            return []


def find_rows(
    capture: Capture, collection: str, plan: Plan, *, reverse: bool = False
) -> Iterator[tuple[bytes, bytes]]:
    """Return the rows that a plan leads to, in id order or reverse."""
    if plan.ids is None:
        return capture.rows(collection, low=plan.low, high=plan.high, reverse=reverse)
    ids = reversed(plan.ids) if reverse else plan.ids
    found = ((name, capture.row(collection, name)) for name in ids)
    return ((capture.key(collection, name), stored) for name, stored in found if stored is not None)
