"""Steps that change the members of a cluster which goes on serving.

Added nodes learn beside the members until they have what those have. Then one order, signed with
the cluster's control-plane key, ends the epoch; until it is sent, everything can be undone, and
from then on nothing can, because the answer may be lost while the order is not.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import httpx
from django.db import transaction

from dataplane.client.calls import Call
from dataplane.client.client import Client
from dataplane.client.errors import ApiError, ClientError
from dataplane.client.membership import reconfigure
from dataplane.client.quorum import faults_tolerated, quorum_size
from portal.clusters.connections import admin_key
from portal.clusters.errors import StepFailed
from portal.clusters.models import Cluster, ClusterStatus, Membership, Node, Operation
from portal.clusters.models import OperationKind as Kind
from portal.clusters.operations.creation import (
    error_words,
    has_waited,
    nodes_named,
    probe_with,
    processes_start,
)
from portal.clusters.operations.observation import (
    Standing,
    cluster_observe,
    moving,
    nodes_observe,
    nodes_write,
    standings,
)
from portal.clusters.operations.specs import (
    blueprint_of,
    control_seed,
    joined_now,
    material_make,
    member_spec,
)
from portal.clusters.operations.types import Context, Outcome, Waiting
from portal.clusters.selectors import accused_nodes

logger = logging.getLogger(__name__)

LEARN_LAG_MAX: Final = 64
ORDER_TIMEOUT_S: Final = 6.0
PATIENCE: Final = timedelta(seconds=20)
# What a cluster answers to an order that it did not take and will not take.
REFUSALS: Final = frozenset({"forbidden", "invalid", "conflict"})


def choose(context: Context) -> Outcome:
    """Choose who leaves and who comes, once; ids rise and are never used again."""
    operation, cluster = context.operation, context.cluster
    if "add" in operation.params:
        return None
    members = cluster.members
    if operation.kind == Kind.REPLACE_NODE:
        remove, count = [int(operation.params["node"])], 1
    else:
        wanted = int(operation.params["nodes"])
        remove = _leaving(cluster, max(0, len(members) - wanted))
        count = max(0, wanted - len(members))
    first = 1 + max(node.index for node in cluster.nodes.all())
    add = list(range(first, first + count))
    addresses = context.driver.reserve(str(cluster.pk), add)
    with transaction.atomic():
        for index in add:
            Node.objects.create(
                cluster=cluster,
                index=index,
                name=f"{cluster.slug}-{index}",
                host=addresses[index].host,
                peer_port=addresses[index].peer_port,
                http_port=addresses[index].http_port,
                grpc_port=addresses[index].grpc_port,
                membership=Membership.LEARNER,
                joined=joined_now(cluster),
            )
        operation.params |= {"add": add, "remove": remove}
        operation.save(update_fields=["params"])
    return None


def _leaving(cluster: Cluster, count: int) -> list[int]:
    """Choose who can be missed most: who lies, is away, lags; the primary only if need be."""
    if not count:
        return []
    members = cluster.members
    seen = standings(members, admin_key(cluster))
    proven = accused_nodes(cluster)
    # Up to f may accuse falsely; one more than that may not.
    liars_max = faults_tolerated(len(members))
    accusers = Counter(index for standing in seen.values() for index in standing.accused)
    newest = max((standing.sequence for standing in seen.values()), default=0)
    primaries = Counter(standing.primary for standing in seen.values()).most_common(1)
    primary = primaries[0][0] if primaries else None

    def rank(node: Node) -> tuple[bool, bool, bool, bool, int]:
        standing = seen.get(node.index)
        return (
            node.index in proven or accusers[node.index] > liars_max,
            standing is None,
            standing is not None and newest - standing.sequence > LEARN_LAG_MAX,
            node.index != primary,
            node.index,
        )

    ranked = sorted(members, key=rank, reverse=True)
    return sorted(node.index for node in ranked[:count])


def material(context: Context) -> Outcome:
    """Make the keys of added nodes."""
    material_make(context.cluster)
    return None


def place(context: Context) -> Outcome:
    """Hand added nodes their specification: whom to learn from."""
    for node in _added(context):
        context.driver.place(blueprint_of(context.cluster, node))
    return None


def start(context: Context) -> Outcome:
    """Start added nodes."""
    return processes_start(context, context.operation.params["add"])


def learn(context: Context) -> Outcome:
    """Wait until added nodes have what the members have, and enough will be there to go on."""
    cluster, added = context.cluster, _added(context)
    key = admin_key(cluster)
    seen = standings(cluster.present_nodes, key)
    answers = nodes_observe(cluster.present_nodes, key)
    nodes_write(cluster, answers)
    members = {node.index for node in cluster.members}
    newest = max((s.sequence for i, s in seen.items() if i in members), default=None)
    if newest is None:
        return Waiting("a member to say how far the cluster is")
    behind = [words for node in added if (words := _behind(node, seen.get(node.index), newest))]
    if behind:
        return Waiting("; ".join(behind))
    kept = members - set(context.operation.params["remove"])
    ready = sum(1 for o in answers if o.index in kept and o.is_ready) + len(added)
    needed = quorum_size(len(kept) + len(added))
    if ready < needed:
        return Waiting(f"{needed} of the nodes to be to be ready ({ready} are)")
    return None


def _order_for(cluster: Cluster, following: int, members: Sequence[Node]) -> Call:
    return reconfigure(
        cluster.data_plane_id,
        epoch=following,
        members=map(member_spec, members),
        seed=control_seed(cluster),
    )


def _behind(node: Node, standing: Standing | None, newest: int) -> str:
    """Say what a learner lacks; empty when the rest comes in a moment."""
    if standing is None:
        return f"node {node.index} to answer"
    lag = newest - standing.sequence
    # A young cluster has fewer sequences than the tolerance: half of them must be there.
    if lag <= LEARN_LAG_MAX and 2 * standing.sequence >= newest:
        return ""
    return f"node {node.index}, which is {lag:,} sequences behind"


def cold(context: Context) -> Outcome:
    """Order the change, and wait while the cluster moves cold documents that it would lose.

    A cluster does not take an order that leaves too few of those who hold such documents together;
    asked for it, it puts them back, and takes it once that is done. Whatever else keeps it from
    taking the order is for the next step to tell.
    """
    cluster = context.cluster
    words = _moving_words(cluster)
    # While it is at work asking again would only be recorded again.
    if not words and order(context) is not None:
        words = _moving_words(cluster)
    return Waiting(words) if words else None


def _moving_words(cluster: Cluster) -> str:
    """Say for what the cluster keeps an order waiting; empty when it does not."""
    seen = moving(cluster.members, admin_key(cluster))
    if seen is None:
        return ""
    return f"cold documents to be moved: {seen.waiting:,} of {seen.segments:,} segments are left"


def order(context: Context) -> Outcome:
    """Send the signed order; the same one again is answered the same."""
    operation, cluster = context.operation, context.cluster
    if "ends_at" in operation.params:
        return None
    if not _commit_to(operation):
        return Waiting("what was begun to be undone")
    remove, added = set(operation.params["remove"]), _added(context)
    kept = [node for node in cluster.members if node.index not in remove]
    call = _order_for(cluster, cluster.epoch + 1, [*kept, *added])
    # Added nodes too: when the answer was lost and nobody is kept, only they know of the change.
    urls = [node.url for node in (*cluster.members, *added)]
    try:
        with Client(urls, admin_key(cluster), timeout_s=ORDER_TIMEOUT_S, follow=False) as client:
            ends_at = int(client.run(call)["ends_at"])
    except ApiError as error:
        if error.code not in REFUSALS:
            if _is_held_up(error):
                _take_back(operation)
            return Waiting(f"the cluster to take the order ({error.code})")
        _take_back(operation)
        raise StepFailed(
            "members_refused",
            f"The cluster refused its new members: {error.detail}.",
            "Cancel, which removes what was added, and try again.",
        ) from error
    except (ClientError, httpx.HTTPError) as error:
        return Waiting(f"the cluster to take the order ({error_words(error)})")
    _turn_over(operation, cluster, ends_at)
    return None


def _is_held_up(error: ApiError) -> bool:
    """Whether the cluster refused the members for now: cold documents have to be moved before."""
    errors = error.fields.get("errors", [])
    return error.code == "not_ready" and any(fault["pointer"] == "/members" for fault in errors)


def _commit_to(operation: Operation) -> bool:
    """Note that the order may be out from now on, unless somebody cancelled before."""
    with transaction.atomic():
        row = Operation.objects.select_for_update().get(pk=operation.pk)
        if row.cancel_requested and not row.params.get("ordered"):
            return False
        operation.params = row.params | {"ordered": True}
        operation.save(update_fields=["params"])
    return True


def _take_back(operation: Operation) -> None:
    """Note that the order was refused: it can be cancelled again."""
    operation.params["ordered"] = False
    operation.save(update_fields=["params"])


def _turn_over(operation: Operation, cluster: Cluster, ends_at: int) -> None:
    """Write down who the members are from now on, at once with the answer."""
    nodes = Node.objects.filter(cluster=cluster)
    with transaction.atomic():
        nodes.filter(index__in=operation.params["add"]).update(membership=Membership.MEMBER)
        nodes.filter(index__in=operation.params["remove"]).update(membership=Membership.REMOVED)
        cluster.epoch, cluster.base = cluster.epoch + 1, ends_at
        cluster.save(update_fields=["epoch", "base"])
        operation.params["ends_at"] = ends_at
        operation.save(update_fields=["params"])


def epoch(context: Context) -> Outcome:
    """Wait until the new members say that they are the members, and serve."""
    cluster, key = context.cluster, admin_key(context.cluster)
    members = cluster.members
    seen = standings(members, key)
    answers = nodes_observe(members, key)
    nodes_write(cluster, answers)
    arrived = {i for i, s in seen.items() if s.is_member and s.epoch >= cluster.epoch}
    serving = [o.index for o in answers if o.is_ready and o.index in arrived]
    missing = [node.index for node in members if node.index not in serving]
    if not missing:
        return None
    needed = quorum_size(len(members))
    # A member that was away before is no reason to keep those that left.
    if len(serving) >= needed and has_waited(context, PATIENCE):
        return None
    words = f"({len(serving)} are there, a quorum is {needed})"
    return Waiting(f"{nodes_named(missing)} to serve in epoch {cluster.epoch} {words}")


def probe(context: Context) -> Outcome:
    """Write through a new member; through any when nobody came."""
    cluster = context.cluster
    urls = [node.url for node in _added(context)] or [node.url for node in cluster.members]
    return probe_with(
        lambda: Client(urls, admin_key(cluster), timeout_s=ORDER_TIMEOUT_S, follow=False)
    )


def retire(context: Context) -> Outcome:
    """Stop the nodes that left; their data is with the members, their keys are destroyed."""
    return _remove(context, context.operation.params["remove"])


def settle(context: Context) -> Outcome:
    """Let the cluster's status follow what is observed again."""
    cluster = context.cluster
    cluster.desired_nodes = cluster.size
    if cluster.status == ClusterStatus.SCALING:
        cluster.status = ClusterStatus.RUNNING
    cluster.save(update_fields=["status", "desired_nodes"])
    cluster_observe(cluster, context.driver)
    return None


def undo_leave(context: Context) -> Outcome:
    """Remove the nodes that were added and never became members."""
    return _remove(context, context.operation.params.get("add", []))


def leftovers_remove(context: Context) -> None:
    """Remove what a change that was given up left: learners, and nodes that were to be stopped.

    A change whose order was sent and never answered may have happened: its learners stay.
    """
    cluster = context.cluster
    rows = Operation.objects.filter(cluster=cluster, kind__in=[Kind.SCALE, Kind.REPLACE_NODE])
    last = rows.order_by("-pk").first()
    is_open = last is not None and last.params.get("ordered") and "ends_at" not in last.params
    gone = [node for node in cluster.nodes.all() if node.membership == Membership.REMOVED]
    learning = [node for node in cluster.present_nodes if node.membership == Membership.LEARNER]
    left = [node.index for node in gone if node.material]
    _remove(context, left + ([] if is_open else [node.index for node in learning]))


def _remove(context: Context, indexes: Sequence[int]) -> Outcome:
    key = str(context.cluster.pk)
    for index in indexes:
        context.driver.remove(key, index)
    left = sorted(set(indexes) & set(context.driver.observe(key)))
    if left:
        return Waiting(f"{nodes_named(left)} to be removed")
    Node.objects.filter(cluster=context.cluster, index__in=indexes).update(
        membership=Membership.REMOVED, material=b"", state="removed", observed={}
    )
    return None


def _added(context: Context) -> list[Node]:
    wanted = set(context.operation.params["add"])
    return [node for node in context.cluster.nodes.all() if node.index in wanted]
