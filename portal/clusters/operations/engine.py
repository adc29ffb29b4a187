"""Runs operations: level-triggered, resumable at every step, bounded in time, cancellable.

Theory of operation. An operation is a row with a list of steps. A worker takes the advisory lock
of the cluster, which Postgres gives back when the worker dies, and calls the first step that is
not done. A step compares what is wanted with what it *observes*, does what is missing, and says
either that its goal is observed or for what it waits. Nothing is remembered but the rows, so that
after a kill between any two statements another worker goes on by calling the same step again.
Time runs out at a step's or the operation's deadline: then it needs an operator, with the reason.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction

from portal.audit.services import Actor, audit_record
from portal.clusters.constants import POLL_INTERVAL_S, TELL_EVERY, TURN
from portal.clusters.errors import StepFailed
from portal.clusters.models import (
    ACTIVE,
    BREAKING_KINDS,
    FINAL,
    Cluster,
    ClusterStatus,
    Operation,
    OperationKind,
    OperationState,
    OperationStep,
    StepStatus,
)
from portal.clusters.operations.live import announce, announce_cluster
from portal.clusters.operations.plans import STEPS, UNDO, UNDO_BUDGET, operation_budget
from portal.clusters.operations.types import Context, Step, Waiting
from portal.clusters.ports import Driver, DriverError
from portal.clusters.provisioners.process import driver as default_driver
from portal.core import clock

logger = logging.getLogger(__name__)

# The cluster serves while these are at work, and also when they stop.
SERVING_KINDS = (
    OperationKind.RESTART_NODE,
    OperationKind.SCALE,
    OperationKind.REPLACE_NODE,
    OperationKind.ROTATE_KEYS,
    *BREAKING_KINDS,
)

_LOCK_MASK = (1 << 63) - 1
_ending = Event()


def turns_end() -> None:
    """Have this process leave its operations where they are: it is about to end."""
    _ending.set()


def operation_advance(operation_id: UUID, *, driver: Driver | None = None) -> bool:
    """Work on an operation for a while; answer whether it should be looked at again."""
    operation = Operation.objects.filter(pk=operation_id).first()
    if operation is None or operation.state in FINAL:
        return False
    with cluster_lock(operation.cluster_id) as is_mine:
        if not is_mine:
            return True
        ends_at = clock.now() + TURN
        while clock.now() < ends_at and not _ending.is_set():
            match _turn(operation_id, driver or default_driver()):
                case "over":
                    return False
                case "later":
                    return True
                case "waiting":
                    _ending.wait(POLL_INTERVAL_S)
                case _:
                    continue
    return True


@contextmanager
def cluster_lock(cluster_id: UUID, *, purpose: int = 0) -> Iterator[bool]:
    """Hold a cluster's lock for a purpose, or answer False when somebody else holds it."""
    key = (cluster_id.int ^ purpose) & _LOCK_MASK
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s::bigint)", [key])
        is_mine = bool(cursor.fetchone()[0])
    try:
        yield is_mine
    finally:
        if is_mine:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s::bigint)", [key])


def _turn(operation_id: UUID, driver: Driver) -> str:
    """Do one thing: start, cancel, one call of one step, or finish."""
    operation = Operation.objects.select_related("cluster").get(pk=operation_id)
    if operation.state in FINAL or operation.state == OperationState.NEEDS_OPERATOR:
        return "over"
    if operation.state == OperationState.QUEUED:
        return "started" if _start(operation) else "later"
    if operation.cancel_requested and operation.state == OperationState.RUNNING:
        _begin_undo(operation)
        return "cancelling"
    row = operation.steps.filter(status__in=[StepStatus.PENDING, StepStatus.RUNNING]).first()
    if row is None:
        _finish(operation)
        return "over"
    return _call(operation, row, driver)


def _start(operation: Operation) -> bool:
    """Make a queued operation the cluster's active one, unless another one is or comes first."""
    # The later one may wait for the earlier, as a restore does for its cluster to be made.
    queued = Operation.objects.filter(cluster=operation.cluster_id, state=OperationState.QUEUED)
    if queued.filter(pk__lt=operation.pk).exists():
        return False
    steps = STEPS[OperationKind(operation.kind)]
    try:
        with transaction.atomic():
            operation.state = OperationState.RUNNING
            if operation.started_at is None:
                operation.started_at = clock.now()
            operation.save(update_fields=["state", "started_at"])
            if not operation.steps.exists():
                _add_steps(operation, steps, first=0)
            announce(operation)
    except IntegrityError:
        operation.state = OperationState.QUEUED
        return False
    return True


def _add_steps(operation: Operation, steps: tuple[Step, ...], *, first: int) -> None:
    OperationStep.objects.bulk_create(
        OperationStep(operation=operation, position=first + i, name=step.name, title=step.title)
        for i, step in enumerate(steps)
    )


def _begin_undo(operation: Operation) -> None:
    """Replace what is left to do by what cleans up."""
    with transaction.atomic():
        operation.state = OperationState.CANCELLING
        operation.deadline_at = clock.now() + UNDO_BUDGET
        operation.save(update_fields=["state", "deadline_at"])
        operation.steps.filter(
            status__in=[StepStatus.PENDING, StepStatus.RUNNING, StepStatus.FAILED]
        ).update(status=StepStatus.SKIPPED, waiting_for="", finished_at=clock.now())
        _add_steps(
            operation,
            UNDO[OperationKind(operation.kind)],
            first=operation.steps.count(),
        )
        announce(operation)


def _call(operation: Operation, row: OperationStep, driver: Driver) -> str:
    """Call a step once and write down what came of it."""
    step = _definition(operation, row)
    now = clock.now()
    if row.status == StepStatus.PENDING:
        row.status, row.started_at = StepStatus.RUNNING, now
        row.deadline_at = now + timedelta(seconds=step.seconds)
        row.save(update_fields=["status", "started_at", "deadline_at"])
        announce(operation)
    try:
        tell = _teller(operation, row)
        outcome = step.run(Context(operation, operation.cluster, driver, tell))
    except StepFailed as error:
        _stop(operation, row, error)
        return "over"
    except DriverError as error:
        outcome = Waiting(str(error))
    except Exception as error:
        # A defect of ours must not become an endless "running": it is tried until the deadline.
        logger.exception("operation.step_raised", extra={"operation": str(operation.pk)})
        outcome = Waiting(f"an unexpected {type(error).__name__}; it is tried again")
    if outcome is None:
        row.status, row.finished_at, row.waiting_for = StepStatus.SUCCEEDED, clock.now(), ""
        row.save(update_fields=["status", "finished_at", "waiting_for"])
        announce(operation)
        _die_for_a_test(step.name)
        return "advanced"
    _tell(operation, row, outcome.reason)
    if _is_overdue(operation, row):
        words = f"“{step.title}” did not come about in time; it waited for {outcome.reason}."
        _stop(operation, row, StepFailed("deadline", words, step.next_action))
        return "over"
    return "later" if outcome.leaves else "waiting"


def _tell(operation: Operation, row: OperationStep, words: str) -> None:
    if row.waiting_for != words:
        row.waiting_for = words
        row.save(update_fields=["waiting_for"])
        announce(operation)


def _teller(operation: Operation, row: OperationStep) -> Callable[[str], None]:
    """Return what a step that works for long says how far it is with, once a second at most."""
    told_at = clock.now()

    def tell(words: str) -> None:
        nonlocal told_at
        if clock.now() - told_at >= TELL_EVERY:
            told_at = clock.now()
            _tell(operation, row, words)

    return tell


def _definition(operation: Operation, row: OperationStep) -> Step:
    kind = OperationKind(operation.kind)
    plan = UNDO[kind] if operation.state == OperationState.CANCELLING else STEPS[kind]
    return next(step for step in plan if step.name == row.name)


def _is_overdue(operation: Operation, row: OperationStep) -> bool:
    now = clock.now()
    return now >= operation.deadline_at or (row.deadline_at is not None and now >= row.deadline_at)


def _stop(operation: Operation, row: OperationStep, error: StepFailed) -> None:
    """Hand the operation to a person, with the reason and what to do about it."""
    with transaction.atomic():
        row.status, row.error, row.finished_at = StepStatus.FAILED, error.detail, clock.now()
        row.save(update_fields=["status", "error", "finished_at"])
        operation.state = OperationState.NEEDS_OPERATOR
        operation.error_code, operation.error = error.code, error.detail
        operation.next_action = error.next_action
        operation.save(update_fields=["state", "error_code", "error", "next_action"])
        if operation.kind not in SERVING_KINDS:
            _set_status(operation.cluster, ClusterStatus.NEEDS_OPERATOR)
        elif operation.cluster.status == ClusterStatus.SCALING:
            # It serves as before: what is observed decides.
            _set_status(operation.cluster, ClusterStatus.RUNNING)
        _record(operation, "operation.stopped", {"error": error.detail, "code": error.code})
        announce(operation)


def _finish(operation: Operation) -> None:
    """Close an operation whose every step was observed to be done."""
    is_undone = operation.state == OperationState.CANCELLING
    with transaction.atomic():
        operation.state = OperationState.CANCELLED if is_undone else OperationState.SUCCEEDED
        operation.finished_at = clock.now()
        operation.error_code = operation.error = operation.next_action = ""
        operation.save(update_fields=["state", "finished_at", "error_code", "error", "next_action"])
        _record(operation, "operation.cancelled" if is_undone else "operation.succeeded", None)
        announce(operation)
        announce_cluster(Cluster.objects.get(pk=operation.cluster_id))


def operation_retry_in_place(operation: Operation) -> None:
    """Give a stopped operation a new attempt with new deadlines; call it in a transaction."""
    was_undoing = operation.cancel_requested
    operation.steps.filter(status=StepStatus.FAILED).update(
        status=StepStatus.PENDING, error="", waiting_for="", finished_at=None, started_at=None
    )
    operation.attempt += 1
    operation.deadline_at = clock.now() + operation_budget(OperationKind(operation.kind))
    operation.error_code = operation.error = operation.next_action = ""
    # Undoing goes on with undoing: its steps are there already.
    operation.state = OperationState.QUEUED
    if was_undoing and operation.steps.filter(name__startswith="undo_").exists():
        operation.state = OperationState.CANCELLING
    operation.save()
    announce(operation)


def is_busy(cluster: Cluster) -> bool:
    """Tell whether an operation is at work on the cluster."""
    return Operation.objects.filter(cluster=cluster, state__in=ACTIVE).exists()


def _set_status(cluster: Cluster, status: str) -> None:
    cluster.status = status
    cluster.save(update_fields=["status"])
    announce_cluster(cluster)


def _record(operation: Operation, action: str, after: dict[str, object] | None) -> None:
    audit_record(
        access_or_actor=Actor(label="operations"),
        action=action,
        target_type="cluster",
        target_id=operation.cluster_id,
        target_label=operation.cluster.name,
        after={"operation": str(operation.pk), "kind": operation.kind, **(after or {})},
    )


def _die_for_a_test(step: str) -> None:
    """Kill this process after a named step: the tests' way to a death between two steps."""
    is_test = settings.SETTINGS_MODULE == "portal.config.settings.test"
    if is_test and os.environ.get("AEROLITH_DIE_AFTER_STEP") == step:
        os.kill(os.getpid(), signal.SIGKILL)
