"""The indexes of a collection as a page shows them."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from dataplane.client.client import Client
from portal.explorer.spans import Span

SHAPES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Proposed:
    """An index that would help, and the form that makes it."""

    fields: str
    name: str
    reason: str
    shapes: list[str]


@dataclass(frozen=True, slots=True)
class Way:
    """What queries of one shape took that found their documents in one way."""

    shape: str
    way: str
    count: int
    p50_ms: float
    p99_ms: float
    examined: int
    returned: int


@dataclass(frozen=True, slots=True)
class Shown:
    """All that the page shows."""

    node: int
    indexes: list[dict[str, Any]]
    proposals: list[Proposed] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)


def indexes_shown(client: Client, collection: str) -> Shown:
    """Ask the cluster for the indexes, and one node for its advice."""
    indexes = [_labelled(index) for index in client.indexes(collection)]
    advice = client.advice(collection)
    taken = {str(index["name"]) for index in indexes}
    ways = [
        Way(
            str(shape["shape"]),
            str(way),
            figures["count"],
            figures["p50_ms"],
            figures["p99_ms"],
            figures["examined"],
            figures["returned"],
        )
        for shape in advice["shapes"][:SHAPES_SHOWN]
        for way, figures in shape["ways"].items()
    ]
    return Shown(
        node=int(advice["node"]),
        indexes=indexes,
        proposals=[_proposed(proposal, taken) for proposal in advice["proposals"]],
        ways=ways,
    )


def _labelled(index: dict[str, Any]) -> dict[str, Any]:
    """Add what the page says of an index in words."""
    kinds = [kind for kind in ("unique", "sparse") if index.get(kind)]
    if "partial" in index:
        kinds.append("partial")
    if "expire_after_s" in index:
        kinds.append(f"expires after {Span.of(index['expire_after_s']).short}")
    return {
        **index,
        "order": [(path, way == -1) for path, way in index["fields"].items()],
        "kinds": kinds,
        "is_option": index["name"].startswith("_"),
    }


def index_proposed(
    client: Client, collection: str, fields: dict[str, int], otherwise: str
) -> Proposed | None:
    """Answer the form of an index that suits a query, None when there is such an index already.

    The reason is the node's own, once it has seen enough such queries.
    """
    indexes = client.indexes(collection)
    wanted = list(fields.items())
    if any(list(index["fields"].items())[: len(wanted)] == wanted for index in indexes):
        return None
    found = [item for item in client.advice(collection)["proposals"] if item["fields"] == fields]
    reason = found[0]["reason"] if found else otherwise
    proposal: dict[str, Any] = {"fields": fields, "reason": reason, "shapes": []}
    return _proposed(proposal, {str(index["name"]) for index in indexes})


def _proposed(proposal: dict[str, Any], taken: set[str]) -> Proposed:
    fields: dict[str, int] = proposal["fields"]
    letters = "-".join(fields).lower().replace(".", "-")
    stem = "by-" + "".join(c for c in letters if c.isascii() and (c.isalnum() or c in "-_"))[:40]
    name = next(n for n in (stem, *(f"{stem}-{i}" for i in range(2, 100))) if n not in taken)
    return Proposed(
        msgspec.json.encode(fields).decode(), name, proposal["reason"], proposal["shapes"]
    )
