"""Evidence as the API prints it and the pages draw it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from portal.clusters.models import Cluster, Evidence
from portal.clusters.presentation import moment
from portal.plans.types import FaultBudget

KIND_WORDS: Final = {
    "pre_prepare": "two proposals",
    "prepare": "two prepare votes",
    "commit": "two commit votes",
    "checkpoint": "two checkpoints",
    "view_change": "two view changes",
    "new_view": "two beginnings of a view",
}
VIEWLESS: Final = frozenset({"checkpoint"})
SEQUENCELESS: Final = frozenset({"view_change", "new_view"})

RING_CENTRE: Final = 110
RING_RADIUS: Final = 78


def evidence_json(evidence: Evidence, cluster: Cluster) -> dict[str, Any]:
    """Print a proof, who reported it, and the key to check it with."""
    return {
        "id": str(evidence.pk),
        "node": evidence.node,
        "kind": evidence.kind,
        "epoch": evidence.epoch,
        "view": evidence.view,
        "sequence": evidence.sequence,
        "reported": moment(evidence.reported_at),
        "experiment": None if evidence.experiment_id is None else str(evidence.experiment_id),
        "seen_by": [
            {"node": report.node, "at": moment(report.seen_at)} for report in evidence.reports.all()
        ],
        "public_key": public_key_of(cluster, evidence.node),
        "proof": evidence.proof,
    }


def public_key_of(cluster: Cluster, index: int) -> str | None:
    """Return the key that the portal gave a node; None when the cluster has no such node."""
    keys = {node.index: node.public_key for node in cluster.nodes.all()}
    return keys.get(index) or None


def place_words(evidence: Evidence) -> str:
    """Say for which place in the protocol both statements were made."""
    parts = [] if evidence.kind in VIEWLESS else [f"view {evidence.view}"]
    parts += [] if evidence.kind in SEQUENCELESS else [f"sequence {evidence.sequence:,}"]
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class RingNode:
    """A node in the picture of the fault budget."""

    index: int
    x: int
    y: int
    state: str
    proof_count: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence against some nodes of a cluster means."""

    tone: str
    title: str
    words: str


def ring_of(cluster: Cluster, counts: Mapping[int, int]) -> list[RingNode]:
    """Place the nodes on a circle, the first one on top."""
    nodes = cluster.members
    placed = []
    for position, node in enumerate(nodes):
        angle = 2 * math.pi * position / len(nodes) - math.pi / 2
        is_up = node.state in {"ready", "starting"}
        state = "accused" if node.index in counts else "honest" if is_up else "away"
        placed.append(
            RingNode(
                index=node.index,
                x=round(RING_CENTRE + RING_RADIUS * math.cos(angle)),
                y=round(RING_CENTRE + RING_RADIUS * math.sin(angle)),
                state=state,
                proof_count=counts.get(node.index, 0),
            )
        )
    return placed


def verdict_of(budget: FaultBudget, accused: int) -> Verdict:
    """Say whether the cluster can still be believed."""
    if accused == 0:
        return Verdict("green", "No node of this cluster was ever caught lying", "")
    names = "1 node was" if accused == 1 else f"{accused} nodes were"
    if accused <= budget.f:
        return Verdict(
            "yellow",
            f"{names.capitalize()} caught lying; the data is right",
            f"A cluster of {budget.nodes} stays right with up to {budget.f} lying at the same "
            "time: what a quorum agreed on is what every honest node holds. There is "
            f"{_left(budget.f - accused)} left for another one.",
        )
    return Verdict(
        "red",
        f"{names.capitalize()} caught lying; that is more than f = {budget.f}",
        f"A cluster of {budget.nodes} can be trusted with at most {budget.f} lying at the same "
        "time. Honest nodes may have been told different things: compare what they hold before "
        "you rely on it.",
    )


def _left(count: int) -> str:
    return "no room" if count == 0 else f"room for {count}"
