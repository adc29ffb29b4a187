"""How a query was answered, as a page shows it."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from dataplane.client.client import Client
from portal.explorer.indexes import Proposed, index_proposed

BAR_LEAST = 0.5
_STAGES = {
    "id_lookup": "Found by id",
    "id_range": "A range of ids",
    "index_scan": "By an index",
    "index_union": "By several indexes",
    "collection_scan": "Looked at every document",
    "collection_count": "Counted before: looked at no document",
}
_TIERS = {
    "ssd": "on the disk",
    "distributed": "in segments over the nodes",
    "archive": "in the archive",
}
_ORDERS = {
    "id_order": "in the order of ids",
    "index_order": "in the order of the index",
    "top_k": "sorted afterwards",
}


@dataclass(frozen=True, slots=True)
class Scan:
    """One index that led to documents, and between which bounds it was read."""

    index: str
    bounds: list[str]


@dataclass(frozen=True, slots=True)
class Explained:
    """All that the page shows of a plan."""

    words: str
    is_scan: bool
    scans: list[Scan]
    order: str
    keys: int
    documents: int
    returned: int
    time_ms: float
    is_cached: bool
    rejected: list[dict[str, str]]
    proposal: Proposed | None
    tiers: list[tuple[str, int]] = field(default_factory=list)
    """Where the documents that were looked at came from, in words; empty: all from the disk."""
    from_memory: int = 0
    segments: dict[str, float] = field(default_factory=dict)
    """What it took to have cold documents."""

    @property
    def returned_share(self) -> float:
        """How much of what was looked at was returned, in percent of a bar that shows both."""
        looked = max(self.documents, self.returned, 1)
        share = 100 * self.returned / looked
        return round(share if not self.returned else max(share, BAR_LEAST), 1)


def explained(client: Client, collection: str, plan: dict[str, Any]) -> Explained:
    """Put a plan into words; for a scan, ask the cluster for the index that would help."""
    stage = str(plan["stage"])
    documents, returned = int(plan["documents_examined"]), int(plan["returned"])
    scans = plan.get("indexes") or ([plan] if "index" in plan else [])
    proposal = None
    if plan.get("suited") and documents > returned:
        reason = f"This query looked at {documents:,} documents to return {returned:,}."
        proposal = index_proposed(client, collection, plan["suited"], reason)
    return Explained(
        words=_STAGES.get(stage, stage),
        is_scan=stage == "collection_scan",
        scans=[Scan(scan["index"], [_bound(item) for item in scan["bounds"]]) for scan in scans],
        order=_ORDERS.get(str(plan["order"]), ""),
        keys=int(plan["keys_examined"]),
        documents=documents,
        returned=returned,
        time_ms=float(plan["time_ms"]),
        is_cached=plan.get("choice") == "cached",
        rejected=plan.get("rejected", []),
        proposal=proposal,
        tiers=_tiers(plan.get("tiers", {})),
        from_memory=int(plan.get("tiers", {}).get("memory", 0)),
        segments=plan.get("segments", {}),
    )


def _tiers(told: dict[str, int]) -> list[tuple[str, int]]:
    """Return the places of the documents that were looked at, if there are several."""
    if not any(told.get(name) for name in ("distributed", "archive")):
        return []
    return [(words, told[name]) for name, words in _TIERS.items() if told.get(name)]


def _bound(item: dict[str, Any]) -> str:
    """Write one bound: its field, then what it is held to."""
    tests = {name: value for name, value in item.items() if name != "field"}
    words = [f"{name} {msgspec.json.encode(value).decode()}" for name, value in tests.items()]
    return f"{item['field']} {', '.join(words)}"
