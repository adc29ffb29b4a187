"""Branches: clusters that begin as another one was at a sequence, and may end by themselves."""

import logging
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.urls import reverse

from portal.access.selectors import permission_holders
from portal.access.types import Access
from portal.audit.services import Actor
from portal.backups.constants import (
    BRANCH_GRACE,
    BRANCH_LIFE_MAX,
    BRANCH_LIFE_MIN,
    BRANCH_NOTICE,
    BRANCHES_AT_ONCE,
)
from portal.backups.errors import NotABranch
from portal.backups.models import Branch
from portal.backups.moments import Point
from portal.backups.requests import restore_in_place, restore_new
from portal.clusters.errors import ExperimentRunning, UnableToCancel, UnableToChangeCluster
from portal.clusters.models import Cluster, Operation, OperationKind
from portal.clusters.operations.opening import (
    cluster_locked,
    cluster_record,
    operation_begin,
    operation_unfinished,
)
from portal.clusters.selectors import stopped_operation
from portal.clusters.services import operation_cancel, stopped_abandon
from portal.core import clock
from portal.core.errors import Forbidden, Invalid
from portal.core.tenancy import current_schema, public_context
from portal.notifications.services import mail_send
from portal.organizations.models import Organization
from portal.organizations.selectors import member_list

logger = logging.getLogger(__name__)
NOBODY = Actor(label="branches")


def restore_begin(
    access: Access,
    point: Point,
    *,
    where: str,
    name: str = "",
    nodes: int = 1,
    confirm: str = "",
    expires_at: datetime | None = None,
    form_token: str = "",
) -> tuple[Cluster, Operation]:
    """Begin the restore of a state: in place, into a new cluster, or into a branch.

    Raises:
        The errors of `restore_in_place`, `restore_new` or `branch_new`.
    """
    if where == "in_place":
        return restore_in_place(
            access,
            point.backup.cluster,
            point.backup,
            confirm=confirm,
            to_sequence=point.to_sequence,
            before_event=point.before_event,
        )
    if where == "branch":
        return branch_new(
            access, point, name=name, nodes=nodes, expires_at=expires_at, form_token=form_token
        )
    return restore_new(
        access,
        point.backup,
        name=name,
        nodes=nodes,
        form_token=form_token,
        to_sequence=point.to_sequence,
        before_event=point.before_event,
    )


def branch_new(
    access: Access,
    point: Point,
    *,
    name: str,
    nodes: int,
    expires_at: datetime | None,
    form_token: str = "",
) -> tuple[Cluster, Operation]:
    """Make a branch: a new cluster that begins with a state of another one.

    Raises:
        Invalid: it would end too soon or too late.
        BackupNotUsable, MomentNotKept, NameTaken, TooManyClusters, PlanByContract: as for a
            restore into a new cluster.
    """
    expires_at = _checked(expires_at)
    source = point.backup.cluster
    with transaction.atomic():
        cluster, operation = restore_new(
            access,
            point.backup,
            name=name,
            nodes=nodes,
            form_token=form_token,
            to_sequence=point.to_sequence,
            before_event=point.before_event,
        )
        if Branch.objects.filter(cluster=cluster).exists():
            return cluster, operation
        branch = Branch.objects.create(
            cluster=cluster,
            source=source,
            sequence=point.sequence,
            created_by=access.user.email,
            created_at=clock.now(),
            expires_at=expires_at,
        )
        cluster_record(access, "branch.created", source, after=_facts(branch))
    return cluster, operation


def branch_expire_set(access: Access, cluster: Cluster, *, expires_at: datetime | None) -> Branch:
    """Say when a branch ends; None keeps it. To have it end sooner is to delete it.

    Raises:
        NotABranch: the cluster is none.
        Invalid: it would end too soon or too late.
        Forbidden: it would end sooner, and the caller may not delete clusters.
        UnableToChangeCluster: it is on its way to the recycle bin already.
    """
    expires_at = _checked(expires_at)
    with transaction.atomic():
        locked = cluster_locked(cluster)
        branch = Branch.objects.select_for_update().filter(cluster=locked).first()
        if branch is None:
            raise NotABranch("This cluster is not a branch of another one.")
        if (ending := operation_unfinished(locked, OperationKind.DELETE)) is not None:
            raise UnableToChangeCluster(
                "The branch is on its way to the recycle bin: cancel that, or take it out again.",
                operation=str(ending.pk),
            )
        is_sooner = expires_at is not None and (
            branch.expires_at is None or expires_at < branch.expires_at
        )
        if is_sooner and not access.can("clusters:delete"):
            raise Forbidden(permission="clusters:delete")
        before = _facts(branch)
        branch.expires_at, branch.noticed_at, branch.ended_at = expires_at, None, None
        branch.save(update_fields=["expires_at", "noticed_at", "ended_at"])
        cluster_record(access, "branch.end_changed", locked, before=before, after=_facts(branch))
    return branch


def _checked(expires_at: datetime | None) -> datetime | None:
    now = clock.now()
    # A moment late is not too late: the form was filled in a while ago.
    if expires_at is None or now + BRANCH_LIFE_MIN * 0.9 <= expires_at <= now + BRANCH_LIFE_MAX:
        return expires_at
    detail = "A branch ends an hour from now at the soonest, and a year from now at the latest."
    raise Invalid(errors=[{"pointer": "/expires", "detail": detail}])


def _facts(branch: Branch) -> dict[str, object]:
    ends = branch.expires_at
    return {
        "branch": branch.cluster.name,
        "sequence": branch.sequence,
        "expires": None if ends is None else ends.isoformat(),
    }


# --- What happens by itself -----------------------------------------------------------------------


def branches_end_due(*, now: datetime) -> int:
    """Tell people of branches that end soon, and end those whose time is over; return how many."""
    due = Branch.objects.filter(
        ended_at=None, expires_at__lte=now + BRANCH_NOTICE, cluster__deleted_at=None
    )
    count = 0
    for branch in due.select_related("cluster", "source").order_by("expires_at")[:BRANCHES_AT_ONCE]:
        if branch.noticed_at is None:
            if now >= _notice_at(branch):
                _notice(branch, now)
        elif (
            branch.expires_at is not None
            and max(branch.expires_at, branch.noticed_at + BRANCH_GRACE) <= now
        ):
            count += _end(branch, now)
    return count


def _notice_at(branch: Branch) -> datetime:
    """Return when people are to be told."""
    assert branch.expires_at is not None, "only those are asked for that end"
    life = branch.expires_at - branch.created_at
    return branch.expires_at - min(BRANCH_NOTICE, life / 4)


def _notice(branch: Branch, now: datetime) -> None:
    with transaction.atomic():
        told = Branch.objects.filter(
            pk=branch.pk, noticed_at=None, expires_at=branch.expires_at
        ).update(noticed_at=now)
        if told:
            cluster_record(NOBODY, "branch.end_announced", branch.cluster, after=_facts(branch))
            _mail(branch)


def _mail(branch: Branch) -> None:
    """Tell who made it, and who may delete clusters."""
    schema = current_schema()
    with public_context():
        organization = Organization.objects.get(schema_name=schema)
    # Who made it may have left; addresses of former members get nothing.
    makers = [row.user for row in member_list(organization) if row.user.email == branch.created_by]
    holders = permission_holders(organization, "clusters:delete", branch.cluster_id)
    people = {user.pk: user for user in holders}
    people |= {user.pk: user for user in makers if user.is_active}
    path = reverse("backups:backups", args=[organization.slug, branch.cluster_id])
    for user in people.values():
        mail_send(
            to=user.email,
            template="branch_ends",
            branch=branch,
            organization=organization,
            link=settings.PORTAL_URL + path,
        )


def _unmake(operation: Operation) -> None:
    """Have a branch that was never made removed, once; if that stops too, its page says so."""
    if operation.cancel_requested:
        return
    try:
        operation_cancel(NOBODY, operation)
    except UnableToCancel as error:
        logger.warning("branch.stuck", extra={"operation": str(operation.pk), "why": error.detail})


def _end(branch: Branch, now: datetime) -> int:
    """Have the engine move a branch to the recycle bin, unless another operation is at work.

    What stopped and waits for a person is given up, as by who deletes a cluster.
    """
    with transaction.atomic():
        locked = cluster_locked(branch.cluster)
        fresh = Branch.objects.select_for_update().get(pk=branch.pk)
        if fresh.ended_at is not None or fresh.expires_at != branch.expires_at:
            return 0
        # It would wait for a person who may never come; what it was for is over.
        stopped_abandon(NOBODY, locked)
        if (making := stopped_operation(locked)) is not None:
            _unmake(making)
            return 0
        try:
            operation_begin(NOBODY, locked, OperationKind.DELETE, "branch.ended")
        except (UnableToChangeCluster, ExperimentRunning) as error:
            logger.info("branch.waits", extra={"cluster": str(locked.pk), "why": error.detail})
            return 0
        fresh.ended_at = now
        fresh.save(update_fields=["ended_at"])
    return 1
