"""Beginning and ending experiments, and what may be broken at all."""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from portal.access.types import Access
from portal.audit.services import Actor
from portal.clusters.constants import EXPERIMENT_PERIOD, MEND_ATTEMPTS_MAX
from portal.clusters.errors import (
    BeyondTolerance,
    ExperimentRunning,
    NameNotConfirmed,
    NoExperiment,
    NotASandbox,
    ProductionCluster,
    UnableToChangeCluster,
)
from portal.clusters.faults import FAULTS
from portal.clusters.models import (
    BREAKING_KINDS,
    BROKEN,
    Cluster,
    ClusterStatus,
    Experiment,
    ExperimentStatus,
    Operation,
    OperationKind,
    OperationState,
    Profile,
)
from portal.clusters.operations.opening import (
    cluster_locked,
    cluster_record,
    operation_begin,
    operation_unfinished,
)
from portal.clusters.selectors import experiment_broken
from portal.clusters.services import operation_cancel, operation_retry
from portal.core import clock
from portal.core.errors import FieldError, Invalid
from portal.plans.selectors import fault_budget

AUTOMATIC = Actor(label="automatic revert")


def sandbox_set(access: Access, cluster: Cluster, *, is_sandbox: bool) -> Cluster:
    """Allow that nodes of a cluster are broken on purpose, or do not any more.

    Raises:
        ProductionCluster: a cluster of production is never broken on purpose.
        ExperimentRunning: nodes of it are broken now.
    """
    with transaction.atomic():
        locked = cluster_locked(cluster)
        if is_sandbox and locked.profile == Profile.PRODUCTION:
            raise ProductionCluster(
                "This cluster was made for production: its nodes refuse to be broken. "
                "Create a sandbox instead."
            )
        if experiment_broken(locked) is not None:
            raise ExperimentRunning("Nodes are broken on purpose now: revert that first.")
        if locked.is_sandbox != is_sandbox:
            locked.is_sandbox = is_sandbox
            locked.save(update_fields=["is_sandbox"])
            action = "cluster.sandbox_set" if is_sandbox else "cluster.sandbox_unset"
            cluster_record(access, action, locked)
    return locked


def experiment_start(
    access: Access,
    cluster: Cluster,
    *,
    faults: Mapping[int, str],
    beyond_f: bool,
    confirm: str,
) -> tuple[Experiment, Operation]:
    """Break nodes of a sandbox for five minutes; whoever calls has confirmed who they are.

    Raises:
        NotASandbox, ProductionCluster: it is not one that may be broken.
        NameNotConfirmed: `confirm` is not the cluster's name.
        Invalid: no node, one that there is not, or a fault that nobody knows.
        BeyondTolerance: more nodes than f, and `beyond_f` does not say that this is wanted.
        ExperimentRunning: nodes of it are broken already.
        UnableToChangeCluster: it is not whole, or an operation is at work.
    """
    with transaction.atomic():
        locked = cluster_locked(cluster)
        _check_may_break(locked)
        if confirm != locked.name:
            raise NameNotConfirmed(f"Type the name of the cluster, {locked.name}, to break it.")
        _check_faults(locked, faults, beyond_f=beyond_f)
        _check_whole(locked)
        now = clock.now()
        experiment = Experiment(
            cluster=locked,
            faults={str(index): faults[index] for index in sorted(faults)},
            is_beyond_f=len(faults) > fault_budget(locked.size).f,
            started_by=access.user.email,
            created_at=now,
            ends_at=now + EXPERIMENT_PERIOD,
        )
        _, operation = operation_begin(
            access,
            locked,
            OperationKind.BREAK,
            "cluster.chaos_started",
            params={
                "experiment": str(experiment.pk),
                "faults": experiment.faults,
                "beyond_f": experiment.is_beyond_f,
                "ends_at": experiment.ends_at.isoformat(),
            },
        )
        experiment.save(force_insert=True)
    return experiment, operation


def _check_may_break(cluster: Cluster) -> None:
    if cluster.profile == Profile.PRODUCTION:
        raise ProductionCluster("A cluster of production is never broken on purpose.")
    if not cluster.is_sandbox:
        raise NotASandbox(
            "Only a sandbox may be broken on purpose: an admin says in its settings that it is one."
        )
    if Experiment.objects.filter(cluster=cluster).exclude(status=ExperimentStatus.OVER).exists():
        raise ExperimentRunning("Another experiment of this cluster is not over yet.")


def _check_faults(cluster: Cluster, faults: Mapping[int, str], *, beyond_f: bool) -> None:
    known = {node.index for node in cluster.members}
    errors: list[FieldError] = []
    for index, behaviour in faults.items():
        if index not in known:
            words = f"The cluster has no member {index}."
            errors.append({"pointer": f"/faults/{index}", "detail": words})
        if behaviour not in FAULTS:
            words = f"Use one of {', '.join(FAULTS)}."
            errors.append({"pointer": f"/faults/{index}", "detail": words})
    if not faults:
        errors.append({"pointer": "/faults", "detail": "Choose at least one node to break."})
    if errors:
        raise Invalid(errors=errors)
    budget = fault_budget(cluster.size)
    if len(faults) > budget.f and not beyond_f:
        raise BeyondTolerance(
            f"{len(faults)} broken nodes are more than f = {budget.f}, which is what a cluster of "
            f"{budget.nodes} bears. Choose fewer, or ask for what happens beyond f.",
            f=budget.f,
            asked=len(faults),
        )


def _check_whole(cluster: Cluster) -> None:
    down = [node.index for node in cluster.members if node.state != "ready"]
    if cluster.status != ClusterStatus.RUNNING or cluster.deleted_at or down:
        raise UnableToChangeCluster(
            f"The cluster is {cluster.get_status_display().lower()}. An experiment begins with "
            "every node ready, so that it shows what it does."
        )


def experiment_revert(who: Access | Actor, experiment: Experiment, *, reason: str) -> Operation:
    """Put every node back as it was.

    Raises:
        NoExperiment: it is reverted already, or being reverted.
    """
    with transaction.atomic():
        cluster = cluster_locked(experiment.cluster)
        locked = Experiment.objects.select_for_update().get(pk=experiment.pk)
        if locked.status not in {ExperimentStatus.STARTING, ExperimentStatus.RUNNING}:
            raise NoExperiment("Nothing is broken on purpose, or it is being reverted already.")
        locked.status, locked.reason = ExperimentStatus.REVERTING, reason
        locked.ended_by = who.label if isinstance(who, Actor) else who.user.email
        locked.save(update_fields=["status", "reason", "ended_by"])
        params: dict[str, object] = {"experiment": str(locked.pk)}
        starting = operation_unfinished(cluster, OperationKind.BREAK)
        if starting is not None:
            # Whatever it did already is undone by the steps that mend.
            after: dict[str, object] = {**params, "reason": reason}
            cluster_record(who, "cluster.chaos_reverted", cluster, after=after)
            return operation_cancel(who, starting)
        return operation_begin(
            who, cluster, OperationKind.MEND, "cluster.chaos_reverted", params=params
        )[1]


def experiments_revert_due(*, now: datetime) -> int:
    """Revert what is past its time or could not begin; try again what could not be mended."""
    count = 0
    for experiment in Experiment.objects.filter(status__in=BROKEN).select_related("cluster"):
        stopped = _stopped(experiment)
        if experiment.status != ExperimentStatus.REVERTING:
            reason = "deadline" if experiment.ends_at <= now else "not_started"
            if reason == "deadline" or stopped is not None:
                experiment_revert(AUTOMATIC, experiment, reason=reason)
                count += 1
        elif stopped is not None and stopped.attempt < MEND_ATTEMPTS_MAX:
            operation_retry(AUTOMATIC, stopped)
            count += 1
    return count


def _stopped(experiment: Experiment) -> Operation | None:
    """Return the operation of an experiment that waits for a person."""
    rows = Operation.objects.filter(
        cluster=experiment.cluster_id,
        kind__in=BREAKING_KINDS,
        state=OperationState.NEEDS_OPERATOR,
    )
    return rows.first()
