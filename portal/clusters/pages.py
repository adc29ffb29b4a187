"""What the cluster pages show, gathered for their templates."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from portal.access.types import Access
from portal.clusters.keeping import ALGORITHMS, provider_reference
from portal.clusters.models import SERVING, Cluster, ClusterStatus, Node, Operation
from portal.clusters.models import OperationState as State
from portal.clusters.models import StepStatus as Status
from portal.clusters.scaling import change_refusal
from portal.clusters.selectors import (
    accused_nodes,
    experiment_broken,
    operation_open,
    usual_duration,
)
from portal.core.errors import PortalError
from portal.plans.presentation import estimate_json
from portal.plans.selectors import estimate, fault_budget, plan_get, plan_list
from portal.plans.types import Estimate, FaultBudget, Offer

TONES = {
    ClusterStatus.RUNNING: "green",
    ClusterStatus.DEGRADED: "yellow",
    ClusterStatus.NEEDS_OPERATOR: "red",
    ClusterStatus.DELETED: "secondary",
}


@dataclass(frozen=True, slots=True)
class ClusterCard:
    """A cluster with its price, its tolerance and its colour."""

    cluster: Cluster
    price: Estimate | None
    budget: FaultBudget
    tone: str
    ready_count: int
    # What an app above this one says of it in lists.
    mark: str = ""


@dataclass(frozen=True, slots=True)
class SizeChoice:
    """A size that the cluster could have, and what it would change."""

    nodes: int
    price: Estimate
    budget: FaultBudget
    change: Decimal | None
    is_present: bool

    @property
    def difference(self) -> Decimal | None:
        """Return by how much the price changes, up or down."""
        return None if self.change is None else abs(self.change)


@dataclass(frozen=True, slots=True)
class OperationPanel:
    """An operation as its panel shows it."""

    operation: Operation
    elapsed_s: int
    usual_s: int | None
    percent: int
    can_cancel: bool
    # The members change: it goes on to its end.
    is_ordered: bool
    can_retry: bool
    is_over: bool


def cards_of(clusters: list[Cluster]) -> list[ClusterCard]:
    """Gather what the list shows (a statement for each app that marks clusters)."""
    marks = {pk: words for make in _mark_makers for pk, words in make(clusters).items()}
    return [card_of(cluster, mark=marks.get(cluster.pk, "")) for cluster in clusters]


def card_of(cluster: Cluster, *, mark: str = "") -> ClusterCard:
    """Gather what the list and the header show of a cluster."""
    try:
        price = estimate(cluster.plan, cluster.size)
    except Exception:  # noqa: BLE001 - a plan that is no longer sold must not hide its cluster.
        price = None
    return ClusterCard(
        cluster=cluster,
        price=price,
        budget=fault_budget(cluster.size),
        tone=TONES.get(ClusterStatus(cluster.status), "azure"),
        ready_count=sum(1 for node in cluster.members if node.state == "ready"),
        mark=mark,
    )


def sizes_of(cluster: Cluster) -> list[SizeChoice]:
    """Return the sizes of the cluster's plan; none when the plan is not sold any more."""
    try:
        counts = plan_get(cluster.plan).node_counts
        present = estimate(cluster.plan, cluster.size)
    except PortalError:
        return []
    return [_size_of(count, estimate(cluster.plan, count), present) for count in counts]


def _size_of(count: int, price: Estimate, present: Estimate) -> SizeChoice:
    change = None
    if price.per_month is not None and present.per_month is not None:
        change = price.per_month - present.per_month
    return SizeChoice(count, price, price.budget, change, count == present.nodes)


def size_chosen(cluster: Cluster, text: str) -> SizeChoice | None:
    """Return the size that somebody asks for, unless it is the present one or not offered."""
    found = (choice for choice in sizes_of(cluster) if str(choice.nodes) == text)
    return next((choice for choice in found if not choice.is_present), None)


def size_refusal(cluster: Cluster, *, is_busy: bool, choices: list[SizeChoice]) -> str:
    """Say why the size cannot be changed now; empty when it can."""
    if is_busy:
        return "Another operation is not over yet, or nodes are broken on purpose: wait for it."
    reason = change_refusal(cluster)
    if reason:
        return reason
    if not choices:
        return "The plan of this cluster is not sold any more, so it keeps its size."
    if len(choices) == 1:
        count = choices[0].nodes
        words = "node" if count == 1 else "nodes"
        return f"{choices[0].price.plan.name} is offered with {count} {words} only."
    return ""


def panel_of(operation: Operation, access: Access, now: datetime) -> OperationPanel:
    """Gather what the panel of an operation shows."""
    steps = [s for s in operation.steps.all() if s.status != Status.SKIPPED]
    done = sum(1 for step in steps if step.status == Status.SUCCEEDED)
    usual: timedelta | None = usual_duration(operation.kind)
    can_cancel = access.can("operations:cancel") and not operation.is_final
    is_ordered = bool(operation.params.get("ordered")) and not operation.is_final
    return OperationPanel(
        operation=operation,
        elapsed_s=operation.elapsed_s(now),
        usual_s=None if usual is None else max(1, round(usual.total_seconds())),
        percent=100 if operation.is_final else done * 100 // len(steps) if steps else 0,
        can_cancel=can_cancel and not operation.cancel_requested and not is_ordered,
        is_ordered=is_ordered,
        can_retry=access.can("clusters:write") and operation.state == State.NEEDS_OPERATOR,
        is_over=operation.is_final,
    )


def accused_members(cluster: Cluster) -> dict[int, int]:
    """Return the proofs against present members: who left can do no more harm."""
    present = {node.index for node in cluster.members}
    return {index: n for index, n in accused_nodes(cluster).items() if index in present}


@dataclass(frozen=True, slots=True)
class Note:
    """What an app above this one has to say on every page of a cluster."""

    template: str
    facts: object


type NoteMaker = Callable[[Cluster], Note | None]
type MarkMaker = Callable[[list[Cluster]], dict[UUID, str]]
_note_makers: list[NoteMaker] = []
_mark_makers: list[MarkMaker] = []


def notes_register(maker: NoteMaker, marks: MarkMaker) -> None:
    """Have a note on the pages of clusters for which there is one, and a mark in their list."""
    _note_makers.append(maker)
    _mark_makers.append(marks)


def cluster_context(cluster: Cluster, access: Access, now: datetime, *, tab: str) -> dict[str, Any]:
    """Gather what every page of a cluster shows."""
    open_operation, broken = operation_open(cluster), experiment_broken(cluster)
    sizes, is_busy = sizes_of(cluster), open_operation is not None or broken is not None
    return {
        "cluster": cluster,
        "card": card_of(cluster),
        "tab": tab,
        "panel": None if open_operation is None else panel_of(open_operation, access, now),
        "advice": advice_for(cluster),
        "accused": accused_members(cluster),
        "is_usable": cluster.status in SERVING,
        "nodes": cluster.present_nodes,
        "sizes": sizes,
        "size_refusal": size_refusal(cluster, is_busy=is_busy, choices=sizes),
        "can_replace": not is_busy and not change_refusal(cluster),
        "broken": broken,
        "notes": [note for make in _note_makers if (note := make(cluster)) is not None],
    }


def encryption_context(cluster: Cluster) -> dict[str, Any]:
    """Gather what the card about encryption shows."""
    reference = provider_reference(cluster) if cluster.wrapped_key else ""
    return {"algorithms": ALGORITHMS, "key_reference": reference}


def advice_for(cluster: Cluster) -> str:
    """Say in words what a state means and what to do next; empty when all is well."""
    seen = cluster.observed or {}
    down = [node.index for node in cluster.members if node.state not in {"ready", "new"}]
    match cluster.status:
        case ClusterStatus.DEGRADED if not seen.get("has_quorum", True):
            return (
                f"Only {seen.get('ready', 0)} of {cluster.size} nodes are ready and a "
                f"quorum is {fault_budget(cluster.size).quorum}: writes are refused with "
                "503 until enough nodes are back. Nothing that was acknowledged is lost. The "
                "supervisor restarts nodes by itself; read their logs if they do not come back."
            )
        case ClusterStatus.DEGRADED:
            words = f"Not ready: {_names(down)}." if down else "A node is not ready."
            return (
                f"{words} The cluster goes on without it, with less tolerance left. It is "
                "restarted by itself and catches up; read its log if it does not come back."
            )
        case _:
            return ""


def _names(indexes: list[int]) -> str:
    return ", ".join(f"node {index}" for index in indexes)


def node_tone(node: Node) -> str:
    """Return the colour of a node's state."""
    return {"ready": "green", "starting": "yellow", "unreachable": "red"}.get(
        node.state, "secondary"
    )


def wizard_catalogue(plans: list[Offer] | None = None) -> dict[str, Any]:
    """Return every size of every plan with price and tolerance, for the wizard's script."""
    return {
        plan.code: {
            "name": plan.name,
            "self_service": plan.is_self_service,
            "counts": list(plan.node_counts),
            "default": 4 if 4 in plan.node_counts else plan.node_counts[0],
            "sizes": {str(n): estimate_json(estimate(plan.code, n)) for n in plan.node_counts},
        }
        for plan in (plans or plan_list())
    }
