"""What the cluster says of itself: its collections, its totals, its members."""

from typing import Any

import msgspec

from dataplane.documents.errors import invalid
from dataplane.documents.mending import Census
from dataplane.documents.settings import ARCHIVE_AFTER, TIERING_OPTION
from dataplane.gateways.answers import Answer, collection_body
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.calls import timestamp_ms
from dataplane.gateways.context import Context


def collections_list(context: Context, caller: Caller) -> Answer:
    """Return the collections that the key covers."""
    with context.reporter.reading(Seen("collection.read")):
        caller.require("documents:read")
        records = [r for r in context.state.view.collections() if caller.covers(r.name)]
        body = {"collections": [collection_body(record) for record in records]}
        return Answer(200, body, context.position(context.cluster.executed))


def quota_body(context: Context) -> dict[str, Any]:
    """Return the limits and what is used, as they are enforced."""
    quota = context.state.view.quota()
    return {
        "calls": {
            "used": context.meter.used,
            "limit": quota.calls_limit,
            "resets": timestamp_ms(quota.calls_resets_ms),
        },
        "requests_per_s": quota.requests_per_s,
        "storage": {"used": quota.storage_used_bytes, "limit": quota.storage_limit_bytes},
    }


def require_archive(context: Context) -> None:
    """Refuse a policy that this node could do nothing about.

    Raises:
        Refusal: `invalid`, at `/tiering/archive_after_s`.
    """
    pointer = f"/{TIERING_OPTION}/{ARCHIVE_AFTER}"
    if context.spec.archive is None:
        raise invalid(pointer, "this cluster has no archive: leave it out, or configure one")
    if not context.encryption.describe()["enabled"]:
        detail = "the archive takes sealed objects only: let the cluster be encrypted first"
        raise invalid(pointer, detail)


def _tiers(context: Context) -> dict[str, dict[str, Any]]:
    """Return how many documents are in each tier; memory has copies, and is this node's alone."""
    view = context.state.view
    memory, cache = view.memory, view.cached()
    tiers: dict[str, dict[str, Any]] = {
        name: {"documents": documents, "bytes": size_bytes}
        for name, (documents, size_bytes) in view.tier_totals().items()
    }
    tiers["ssd"]["cache"] = {
        "bytes": cache.size_bytes,
        "limit": cache.bytes_max,
        **_hit_rate(cache.hits, cache.misses),
    }
    return {
        "memory": {
            "documents": len(memory),
            "bytes": memory.size_bytes,
            "limit": memory.bytes_max,
            **_hit_rate(memory.hits, memory.misses),
        },
        **tiers,
    }


def _hit_rate(hits: int, misses: int) -> dict[str, Any]:
    """Return counts since the node began, and the share of hits; null before there was any."""
    rate = round(hits / (hits + misses), 4) if hits + misses else None
    return {"hits": hits, "misses": misses, "hit_rate": rate}


def _segments(context: Context) -> dict[str, Any]:
    """Return how the segments of cold documents are, and this node's fragments of them."""
    view = context.state.view
    placement = view.tiers.placement
    return {
        "total": placement.total,
        "misplaced": sum(placement.misplaced.values()),
        "waiting": placement.waiting,
        "held": len(view.tiers.holds.dead),
        "fragments": msgspec.to_builtins(view.mending.census if view.mending else Census()),
    }


def moving(context: Context) -> dict[str, int] | None:
    """Return for how many segments of how many the change of members waits; None without one."""
    placement = context.state.view.tiers.placement
    if not placement.waiting:
        return None
    return {"segments": placement.total, "waiting": placement.waiting}


def stats(context: Context, caller: Caller) -> Answer:
    """Return totals and live figures of this node."""
    caller.require("cluster:read")
    status, totals = context.cluster.status(), context.state.view.stats()
    tiers = _tiers(context)
    body = {
        "documents": totals.documents,
        "bytes": {name: tiers[name]["bytes"] for name in ("ssd", "distributed", "archive")},
        "tiers": tiers,
        "segments": _segments(context),
        "collections": totals.collections,
        "node_id": status.node_id,
        "role": "primary" if status.primary == status.node_id else "backup",
        "ready": status.ready,
        "view": status.view,
        "sequence": status.sequence,
        "primary": status.primary,
        "members": len(status.members),
        "f": status.f,
        "quorum": status.quorum,
        "evidence": status.evidence,
        "encryption": context.encryption.describe(),
        **context.figures.live(),
        **quota_body(context),
    }
    return Answer(200, body, context.position(status.sequence))


def nodes_status(context: Context, caller: Caller) -> Answer:
    """Return every member as this node sees it."""
    caller.require("cluster:read")
    status = context.cluster.status()
    nodes = [
        {
            "id": member.id,
            "address": member.address,
            "role": member.role,
            "reachable": member.reachable,
            "sequence": member.executed,
            "lag": member.lag,
            "faults": member.faults,
            "evidence": member.evidence,
        }
        for member in status.members
    ]
    body = {
        "nodes": nodes,
        "epoch": status.epoch,
        "ends_at": status.ends_at,
        "is_member": status.is_member,
        "behind": status.behind,
        "view": status.view,
        "sequence": status.sequence,
        "primary": status.primary,
        "f": status.f,
        "quorum": status.quorum,
        "stable": status.stable,
        "amnesia": status.amnesia,
        "diverged": status.diverged,
        "copying": status.copying,
        "checkpoints": [
            {"sequence": sequence, "root": root.hex()}
            for sequence, root in context.reads.roots.items()
        ],
        "crash_budget": len(nodes) - status.quorum,
        "partition": msgspec.to_builtins(status.partition),
    }
    return Answer(200, body, context.position(status.sequence))
