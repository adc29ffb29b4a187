"""Backups as the API and the pages print them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from portal.backups.models import (
    Backup,
    BackupPolicy,
    BackupState,
    BackupTrigger,
    Branch,
    Drill,
    Preview,
    Restore,
)
from portal.backups.pricing import StorageEstimate
from portal.backups.retention import kept
from portal.backups.selectors import Window, branch_of, branches_among, grid_of
from portal.backups.services import policy_facts
from portal.clusters.models import Cluster, Operation
from portal.clusters.pages import Note
from portal.clusters.selectors import stopped_operation
from portal.core import clock
from portal.plans.presentation import money

TONES = {
    BackupState.STORED: "green",
    BackupState.FAILED: "red",
    BackupState.RUNNING: "azure",
    BackupState.QUEUED: "azure",
}


@dataclass(frozen=True, slots=True)
class BackupLine:
    """A backup as a line of the page."""

    backup: Backup
    tone: str
    kept_as: str


def lines_of(backups: list[Backup], policy: BackupPolicy) -> list[BackupLine]:
    """Return what the page shows of backups, and why each is kept."""
    scheduled = [
        (backup.pk, backup.created_at)
        for backup in backups
        if backup.trigger == BackupTrigger.SCHEDULE and backup.state == BackupState.STORED
    ]
    periods = kept(scheduled, grid_of(policy))
    return [
        BackupLine(
            backup=backup,
            tone=TONES[BackupState(backup.state)],
            kept_as=", ".join(periods.get(backup.pk, [])),
        )
        for backup in backups
    ]


def backup_json(backup: Backup) -> dict[str, Any]:
    """Print a backup."""
    return {
        "id": str(backup.pk),
        "status": backup.state,
        "trigger": backup.trigger,
        "note": backup.note,
        "requested_by": backup.requested_by,
        "created": _moment(backup.created_at),
        "finished": _moment(backup.finished_at),
        "problem": backup.problem or None,
        "kind": "whole" if backup.base_id is None else "incremental",
        "base": None if backup.base_id is None else str(backup.base_id),
        "sequence": backup.sequence,
        "epoch": backup.epoch,
        "root": backup.root or None,
        "signers": backup.signers,
        "state_time": _moment(backup.state_at),
        "rows": backup.rows,
        "size_bytes": backup.size_bytes,
        "verified": _moment(backup.verified_at),
        "keep_until": _moment(backup.keep_until),
    }


def policy_json(
    policy: BackupPolicy, due: datetime | None, window: Window | None, drill: Drill | None
) -> dict[str, Any]:
    """Print how a cluster is backed up, which moments can be restored, and the last rehearsal."""
    return {
        **policy_facts(policy),
        "next": _moment(due),
        "window": _window_json(window),
        "drill": _drill_json(drill),
    }


def _drill_json(drill: Drill | None) -> dict[str, Any] | None:
    if drill is None:
        return None
    return {
        "sequence": drill.sequence,
        "documents": drill.documents,
        "seconds": drill.seconds,
        "stage": drill.stage or None,
        "problem": drill.problem or None,
        "at": _moment(drill.created_at),
        "finished": _moment(drill.finished_at),
    }


def _window_json(window: Window | None) -> dict[str, Any] | None:
    if window is None:
        return None
    return {
        "first": window.first,
        "last": window.last,
        "first_time": _moment(window.first_at),
        "last_time": _moment(window.last_at),
    }


def restore_json(restore: Restore) -> dict[str, Any]:
    """Print a restore."""
    return {
        "operation": str(restore.operation_id),
        "cluster": str(restore.cluster_id),
        "source": {"name": restore.source_name, "sequence": restore.source_sequence},
        "before_audit_event": restore.before_event,
        "rows": restore.rows,
        "created": _moment(restore.created_at),
        "proven": _moment(restore.proven_at),
    }


def storage_json(storage: StorageEstimate) -> dict[str, Any]:
    """Print what a schedule will take up, and its price by the list."""
    return {
        "backups": storage.count,
        "whole": storage.whole_count,
        "bytes": {
            "schedule": storage.schedule_bytes,
            "archive": storage.archive_bytes,
            "on_demand": storage.other_bytes,
            "total": storage.total_bytes,
        },
        "measured_backups": storage.measured,
        "price_per_gb_month": money(storage.gb_price, places="0.0001"),
        "price_per_month": money(storage.per_month, places="0.0001"),
        "billed": False,
    }


def preview_json(preview: Preview) -> dict[str, Any]:
    """Print what a restore would change."""
    return {
        "id": str(preview.pk),
        "status": preview.state,
        "waiting_for": preview.stage or None,
        "problem": preview.problem or None,
        "sequence": preview.sequence,
        "now_sequence": preview.now_sequence,
        "collections": preview.collections,
        "created": _moment(preview.created_at),
        "finished": _moment(preview.finished_at),
    }


def branch_json(branch: Branch) -> dict[str, Any]:
    """Print a branch."""
    return {
        "cluster": str(branch.cluster_id),
        "name": branch.cluster.name,
        "status": branch.cluster.status,
        "source": {
            "cluster": str(branch.source_id),
            "name": branch.source.name,
            "sequence": branch.sequence,
        },
        "created": _moment(branch.created_at),
        "created_by": branch.created_by,
        "expires": _moment(branch.expires_at),
        "ended": _moment(branch.ended_at),
    }


@dataclass(frozen=True, slots=True)
class BranchFacts:
    """A branch, and the stopped operation that keeps it from its end, if there is one."""

    branch: Branch
    stopped: Operation | None


def branch_note(cluster: Cluster) -> Note | None:
    """Say on the pages of a branch where it branched off, and when it ends."""
    branch = branch_of(cluster)
    if branch is None:
        return None
    is_late = branch.ended_at is None and (branch.expires_at or clock.now()) < clock.now()
    stopped = stopped_operation(cluster) if is_late else None
    return Note("backups/_branch_note.html", BranchFacts(branch, stopped))


def branch_marks(clusters: list[Cluster]) -> dict[UUID, str]:
    """Say in the list of clusters which of them are branches, and of what."""
    return {
        branch.cluster_id: f"branch of {branch.source.name} at {branch.sequence:,}"
        for branch in branches_among(clusters)
    }


def event_words(event: dict[str, Any]) -> str:
    """Say what a record of the audit log tells."""
    who = event["actor_name"] or event["actor"] or "nobody named"
    place = "/".join(part for part in (event["collection"], event["id"]) if part)
    return f"{event['action']} of {place or 'the cluster'} by {who}"


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
