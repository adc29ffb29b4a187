"""Everything that changes a cluster, its keys or its operations."""

import hashlib
import re
import secrets
from datetime import datetime

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils.text import slugify

from dataplane.client.keys import new_api_key
from portal.access.types import Access
from portal.audit.services import Actor
from portal.clusters.constants import (
    CLUSTERS_PER_ORGANIZATION_MAX,
    DOUBLE_SUBMIT_WINDOW,
    NAME_LENGTH_MAX,
)
from portal.clusters.encryption import cluster_rotate_keys
from portal.clusters.errors import (
    NameNotConfirmed,
    NameTaken,
    PlanByContract,
    TooManyClusters,
    UnableToCancel,
    UnableToChangeCluster,
    UnableToRetry,
)
from portal.clusters.keeping import ALGORITHM_DEFAULT, algorithm_checked
from portal.clusters.keys import key_create, key_revoke
from portal.clusters.models import (
    FINAL,
    SERVING,
    Cluster,
    ClusterStatus,
    Operation,
    OperationKind,
    OperationState,
    Profile,
)
from portal.clusters.operations.engine import operation_retry_in_place
from portal.clusters.operations.live import announce, announce_cluster
from portal.clusters.operations.opening import (
    STATUS_WHILE,
    cluster_locked,
    cluster_record,
    operation_begin,
    operation_enqueue,
    operation_insert,
    operation_record,
    operation_unfinished,
)
from portal.clusters.scaling import cluster_replace_node, cluster_scale
from portal.clusters.selectors import node_get
from portal.core import clock
from portal.core.crypto import seal
from portal.core.errors import Forbidden, Invalid
from portal.core.tenancy import current_schema
from portal.plans.selectors import estimate, region_get
from portal.plans.types import Estimate

__all__ = [
    "cluster_create",
    "cluster_delete",
    "cluster_rename",
    "cluster_replace_node",
    "cluster_restart_node",
    "cluster_restore",
    "cluster_rotate_keys",
    "cluster_scale",
    "clusters_purge_due",
    "key_create",
    "key_revoke",
    "operation_cancel",
    "operation_retry",
]

_NAME = re.compile(r"^[^\W_](?:[\w .-]*[^\W_])?$")
CONTROL_SEED_BYTES = 32
_LOCK = 0x636C_7573  # "clus": one creator at a time in each schema, so that limits hold.


def cluster_create(
    access: Access,
    *,
    name: str,
    plan: str,
    region: str,
    nodes: int,
    sandbox: bool = False,
    encryption: str = ALGORITHM_DEFAULT,
    form_token: str = "",
) -> tuple[Cluster, Operation]:
    """Write down that a cluster is wanted, and have it made.

    The same `form_token` again within minutes answers the cluster of the first time. A sandbox may
    be broken on purpose; any other is what the installation is for.

    Raises:
        Forbidden: the caller may write to some clusters only.
        Invalid: name, plan, region or size are not acceptable.
        NameTaken: another cluster of the organization has the name.
        TooManyClusters: the plan or the installation allows no further one.
        PlanByContract: the plan cannot be had by oneself.
    """
    if "clusters:write" not in access.everywhere:
        detail = "A new cluster takes clusters:write in the whole organization, not on one cluster."
        raise Forbidden(detail, permission="clusters:write")
    name, slug = _checked_name(name)
    algorithm = algorithm_checked(encryption)
    region_get(region)
    price = estimate(plan, nodes)
    if not price.plan.is_self_service:
        raise PlanByContract(f"{price.plan.name} is by contract: write to us first.")
    with transaction.atomic():
        _lock_creation()
        if form_token and (found := _same_form(form_token)) is not None:
            return found
        _check_room(price, slug)
        profile = Profile.DEVELOPMENT if sandbox else settings.CLUSTER_PROFILE
        cluster = _insert(access, name, slug=slug, region=region, price=price)
        cluster.profile, cluster.is_sandbox = profile, sandbox
        cluster.encryption = algorithm
        cluster.save(update_fields=["profile", "is_sandbox", "encryption"])
        operation = operation_insert(
            access, cluster, OperationKind.CREATE, {"form_token": form_token}
        )
        after = {"plan": plan, "region": region, "nodes": nodes, "operation": str(operation.pk)}
        after |= {"sandbox": True} if sandbox else {}
        cluster_record(access, "cluster.created", cluster, after=after)
    return cluster, operation


def cluster_delete(
    access: Access, cluster: Cluster, *, confirm: str, now_for_good: bool = False
) -> tuple[Cluster, Operation]:
    """Move a cluster to the recycle bin, or delete for good what is in it.

    A cluster that is still being made is cancelled instead, which removes it at once.

    Raises:
        NameNotConfirmed: `confirm` is not the cluster's name.
        UnableToChangeCluster: it is deleted already, or another operation is at work.
    """
    if confirm != cluster.name:
        raise NameNotConfirmed(f"Type the name of the cluster, {cluster.name}, to delete it.")
    making = operation_unfinished(cluster, OperationKind.CREATE)
    if making is not None:
        return cluster, operation_cancel(access, making)
    kind = OperationKind.PURGE if cluster.is_recoverable else OperationKind.DELETE
    if kind == OperationKind.PURGE and not now_for_good:
        raise UnableToChangeCluster("The cluster is in the recycle bin already.")
    with transaction.atomic():
        locked = cluster_locked(cluster)
        stopped_abandon(access, locked)
        return operation_begin(access, locked, kind, "cluster.delete_requested", confirmed=True)


def cluster_restore(access: Access, cluster: Cluster) -> tuple[Cluster, Operation]:
    """Take a cluster out of the recycle bin, with its data and addresses.

    Raises:
        UnableToChangeCluster: it is not in the recycle bin, or is being deleted for good.
    """
    if not cluster.is_recoverable:
        raise UnableToChangeCluster("The cluster is not in the recycle bin.")
    with transaction.atomic():
        locked = cluster_locked(cluster)
        return operation_begin(
            access, locked, OperationKind.RESTORE_DELETED, "cluster.restore_requested"
        )


def cluster_restart_node(
    access: Access, cluster: Cluster, *, node: int, force: bool = False
) -> tuple[Cluster, Operation]:
    """Restart one node; refused by a step while the others would not be a quorum.

    Raises:
        UnableToChangeCluster: the cluster is not in use.
        NotFound: it has no such node.
    """
    node_get(cluster, node)
    if cluster.status not in {*SERVING, ClusterStatus.NEEDS_OPERATOR} or cluster.deleted_at:
        raise UnableToChangeCluster(f"The cluster is {cluster.status}: nothing to restart.")
    with transaction.atomic():
        locked = cluster_locked(cluster)
        params: dict[str, object] = {"node": node, "force": force}
        return operation_begin(
            access, locked, OperationKind.RESTART_NODE, "cluster.restart_requested", params=params
        )


def cluster_rename(access: Access, cluster: Cluster, *, name: str) -> Cluster:
    """Give another name; addresses and keys stay.

    Raises:
        Invalid: the name is not acceptable.
        NameTaken: another cluster has it.
    """
    name, slug = _checked_name(name)
    with transaction.atomic():
        locked = cluster_locked(cluster)
        before = locked.name
        others = Cluster.objects.filter(slug=slug, purged_at=None).exclude(pk=locked.pk)
        if others.exists():
            raise NameTaken(f"Another cluster is called {name}.")
        locked.name, locked.slug = name, slug
        locked.save(update_fields=["name", "slug"])
        cluster_record(
            access, "cluster.renamed", locked, before={"name": before}, after={"name": name}
        )
    return locked


def operation_cancel(access: Access | Actor, operation: Operation) -> Operation:
    """Ask an operation to stop and clean up after itself; works until it is over.

    Raises:
        UnableToCancel: it is over, or it deletes for good and has begun.
    """
    with transaction.atomic():
        locked = Operation.objects.select_for_update().get(pk=operation.pk)
        if locked.state in FINAL:
            raise UnableToCancel(f"The operation is over: it {locked.state}.")
        has_begun_purge = (
            locked.kind == OperationKind.PURGE
            and locked.steps.filter(name="remove").exclude(status="pending").exists()
        )
        if has_begun_purge:
            raise UnableToCancel("Data is being deleted for good; retry instead.")
        if locked.params.get("ordered"):
            raise UnableToCancel(
                "The order to change the members was sent, and the cluster may have taken it. It "
                "goes on to its end; if it stops there, retry it."
            )
        if not locked.cancel_requested:
            locked.cancel_requested = True
            locked.save(update_fields=["cancel_requested"])
            operation_record(access, "operation.cancel_requested", locked)
        if locked.state == OperationState.NEEDS_OPERATOR:
            _retry(locked)
        announce(locked)
        operation_enqueue(locked)
    return locked


def operation_retry(access: Access | Actor, operation: Operation) -> Operation:
    """Give an operation that stopped another attempt, from the step it stopped at.

    Raises:
        UnableToRetry: it did not stop.
    """
    with transaction.atomic():
        locked = Operation.objects.select_for_update().get(pk=operation.pk)
        if locked.state != OperationState.NEEDS_OPERATOR:
            raise UnableToRetry(f"The operation is {locked.state}; only a stopped one is retried.")
        _retry(locked)
        operation_record(access, "operation.retried", locked)
        operation_enqueue(locked)
    return locked


def clusters_purge_due(*, now: datetime) -> int:
    """Begin to delete for good what has been in the recycle bin for its time."""
    due = Cluster.objects.filter(purged_at=None, purge_at__lte=now, status=ClusterStatus.DELETED)
    count = 0
    for cluster in due:
        with transaction.atomic():
            locked = cluster_locked(cluster)
            if operation_unfinished(locked) is None:
                operation_begin(
                    Actor(label="recycle bin"), locked, OperationKind.PURGE, "cluster.purge_due"
                )
                count += 1
    return count


def _checked_name(name: str) -> tuple[str, str]:
    name = " ".join(name.split())
    slug = slugify(name)[:NAME_LENGTH_MAX].strip("-")
    if not slug or len(name) > NAME_LENGTH_MAX or not _NAME.match(name):
        detail = (
            f"Use 1 to {NAME_LENGTH_MAX} letters, digits, spaces, dots or hyphens, "
            "beginning and ending with a letter or digit."
        )
        raise Invalid(errors=[{"pointer": "/name", "detail": detail}])
    return name, slug


def _lock_creation() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, current_schema()])


def _same_form(form_token: str) -> tuple[Cluster, Operation] | None:
    """Find the cluster that the same form made a moment ago."""
    since = clock.now() - DOUBLE_SUBMIT_WINDOW
    rows = Operation.objects.select_related("cluster").filter(
        kind=OperationKind.CREATE, created_at__gte=since, params__form_token=form_token
    )
    first = rows.first()
    return None if first is None else (first.cluster, first)


def _check_room(price: Estimate, slug: str) -> None:
    living = Cluster.objects.filter(deleted_at=None)
    if Cluster.objects.filter(slug=slug, purged_at=None).exists():
        raise NameTaken(
            "A cluster of this organization has that name (perhaps one in the recycle bin)."
        )
    if living.count() >= CLUSTERS_PER_ORGANIZATION_MAX:
        limit = CLUSTERS_PER_ORGANIZATION_MAX
        raise TooManyClusters(
            f"An organization has at most {limit} clusters; delete one first.", limit=limit
        )
    limit_of_plan, plan = price.plan.clusters_max, price.plan
    if limit_of_plan is not None and living.filter(plan=plan.code).count() >= limit_of_plan:
        raise TooManyClusters(
            f"{plan.name} includes {limit_of_plan} "
            f"{'cluster' if limit_of_plan == 1 else 'clusters'} for an organization. "
            "Delete one, or choose another plan.",
            limit=limit_of_plan,
        )


def _insert(access: Access, name: str, *, slug: str, region: str, price: Estimate) -> Cluster:
    schema = current_schema()
    usage_token = f"aeu_{schema.removeprefix('org_')}_{secrets.token_urlsafe(32)}"
    return Cluster.objects.create(
        name=name,
        slug=slug,
        plan=price.plan.code,
        region=region,
        desired_nodes=price.nodes,
        data_plane_id=secrets.token_hex(16),
        admin_key=seal(new_api_key().token.encode()),
        control_seed=seal(secrets.token_bytes(CONTROL_SEED_BYTES)),
        usage_token=seal(usage_token.encode()),
        usage_token_hash=hashlib.sha256(usage_token.encode()).hexdigest(),
        created_by=access.user.email,
        created_at=clock.now(),
    )


def _retry(operation: Operation) -> None:
    try:
        with transaction.atomic():
            operation_retry_in_place(operation)
    except IntegrityError as error:
        raise UnableToRetry("Another operation is at work on the cluster.") from error
    if operation.kind in STATUS_WHILE:
        cluster = operation.cluster
        cluster.status = STATUS_WHILE[OperationKind(operation.kind)]
        cluster.save(update_fields=["status"])
        announce_cluster(cluster)


def stopped_abandon(access: Access | Actor, cluster: Cluster) -> None:
    """Close what stopped and waits for a person: deleting is the answer to it."""
    stopped = Operation.objects.filter(cluster=cluster, state=OperationState.NEEDS_OPERATOR)
    for operation in stopped.exclude(kind=OperationKind.CREATE):
        operation.state, operation.finished_at = OperationState.CANCELLED, clock.now()
        operation.save(update_fields=["state", "finished_at"])
        operation_record(access, "operation.abandoned", operation)


def form_token_new() -> str:
    """Return the mark of one rendering of a form."""
    return secrets.token_hex(16)
