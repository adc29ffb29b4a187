"""Backups of clusters, how often they are taken, and what was restored."""

from datetime import datetime
from typing import ClassVar, override
from uuid import UUID

from django.db import models

from portal.backups.constants import DRILL_DEATH
from portal.clusters.models import Cluster, Operation
from portal.core.ids import uuid7


class BackupPolicy(models.Model):
    """How often a cluster is backed up, and how many backups are kept of each period."""

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, related_name="backup_policy")
    every_hours = models.PositiveSmallIntegerField(default=24)
    keep_hourly = models.PositiveSmallIntegerField(default=0)
    keep_daily = models.PositiveSmallIntegerField(default=7)
    keep_weekly = models.PositiveSmallIntegerField(default=4)
    keep_monthly = models.PositiveSmallIntegerField(default=0)
    keep_yearly = models.PositiveSmallIntegerField(default=0)
    # For so long any moment can be restored; 0 archives nothing.
    window_days = models.PositiveSmallIntegerField(default=2)
    updated_at = models.DateTimeField(null=True)

    cluster_id: UUID

    @override
    def __str__(self) -> str:
        return f"every {self.every_hours} h"


class BackupVault(models.Model):
    """The key under which a cluster's backups are sealed, itself sealed."""

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, related_name="backup_vault")
    data_key = models.BinaryField()

    @override
    def __str__(self) -> str:
        return "key of backups"


class BackupState(models.TextChoices):
    """Where a backup is."""

    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Being taken"
    STORED = "stored", "Stored"
    FAILED = "failed", "Failed"


class BackupTrigger(models.TextChoices):
    """Why a backup was taken."""

    SCHEDULE = "schedule", "Schedule"
    MANUAL = "manual", "On demand"
    SAFETY = "safety", "Before a restore"


OPEN = (BackupState.QUEUED, BackupState.RUNNING)


class Backup(models.Model):
    """One backup: what the nodes signed, and where it is kept."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="backups")
    state = models.CharField(max_length=8, choices=BackupState.choices, default=BackupState.QUEUED)
    trigger = models.CharField(max_length=8, choices=BackupTrigger.choices)
    note = models.CharField(max_length=200, blank=True, default="")
    requested_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # Not before this: a pause after an attempt that failed.
    retry_at = models.DateTimeField(null=True)
    attempt = models.PositiveSmallIntegerField(default=0)
    problem = models.TextField(blank=True, default="")
    # What it builds on; None for a whole one.
    base = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="increments")
    sequence = models.PositiveBigIntegerField(null=True)
    epoch = models.PositiveIntegerField(null=True)
    root = models.CharField(max_length=64, blank=True, default="")
    signers = models.PositiveSmallIntegerField(null=True)
    # The agreed time of the last batch that is in it.
    state_at = models.DateTimeField(null=True)
    # Whom to trust of its signers: the members of its time.
    anchor = models.JSONField(default=dict)
    rows = models.PositiveBigIntegerField(null=True)
    size_bytes = models.PositiveBigIntegerField(null=True)
    # When it was last read back from the store and hashed to the signed root.
    verified_at = models.DateTimeField(null=True)
    # None: for ever, or as long as the schedule keeps it.
    keep_until = models.DateTimeField(null=True)
    # Nobody is offered it any more; it goes when nothing builds on it.
    expired_at = models.DateTimeField(null=True)

    cluster_id: UUID
    base_id: UUID | None

    class Meta:
        """Newest first; one at a time of a cluster."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster"],
                condition=models.Q(state__in=["queued", "running"]),
                name="backup_one_open",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=BackupState.values), name="backup_state_known"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["cluster", "-id"], name="backup_recent"),
            models.Index(
                fields=["state"],
                condition=models.Q(state__in=["queued", "running"]),
                name="backup_open",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"backup at {self.sequence}"

    @property
    def is_usable(self) -> bool:
        """Tell whether it can be restored."""
        return self.state == BackupState.STORED and self.expired_at is None

    @property
    def is_open(self) -> bool:
        """Tell whether it is still to be taken."""
        return self.state in OPEN


class ArchiveSegment(models.Model):
    """Decided batches in the store, from one sequence to another."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="segments")
    first = models.PositiveBigIntegerField()
    last = models.PositiveBigIntegerField()
    # Where the run without a gap begins that this one is the end of.
    run_first = models.PositiveBigIntegerField()
    # The agreed times of the first batch and of the last.
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    size_bytes = models.PositiveBigIntegerField(default=0)
    created_at = models.DateTimeField()
    # None: it was about to be stored, and whoever did so may have died on the way.
    stored_at = models.DateTimeField(null=True)

    cluster_id: UUID

    class Meta:
        """Newest first."""

        ordering: ClassVar = ["-first"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["cluster", "first"], name="segment_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"batches {self.first} to {self.last}"


class Drill(models.Model):
    """A rehearsal: a backup that was really restored, into a node that nobody used."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="drills")
    sequence = models.PositiveBigIntegerField(null=True)
    documents = models.PositiveBigIntegerField(null=True)
    seconds = models.FloatField(null=True)
    problem = models.TextField(blank=True, default="")
    # What it is at, while it is at work.
    stage = models.CharField(max_length=80, blank=True, default="")
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    cluster_id: UUID

    class Meta:
        """Newest first."""

        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [models.Index(fields=["cluster", "-id"], name="drill_recent")]

    @override
    def __str__(self) -> str:
        return f"rehearsal of {self.sequence}"

    def is_at_work(self, now: datetime) -> bool:
        """Tell whether a worker may still be at it."""
        return self.finished_at is None and now - self.created_at < DRILL_DEATH


class Restore(models.Model):
    """A backup brought into a cluster, with what the nodes signed of it."""

    operation = models.OneToOneField(
        Operation, on_delete=models.CASCADE, related_name="restored_backup"
    )
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="restores")
    backup = models.ForeignKey(
        Backup, on_delete=models.SET_NULL, null=True, related_name="restores"
    )
    source_name = models.CharField(max_length=40)
    source_sequence = models.PositiveBigIntegerField(null=True)
    rows = models.PositiveBigIntegerField(null=True)
    # Set when it is of a moment after the backup.
    to_sequence = models.PositiveBigIntegerField(null=True)
    # The record of the source's audit log that it is of just before.
    before_event = models.PositiveBigIntegerField(null=True)
    # Empty until the nodes of the restored cluster have signed.
    certificate = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    proven_at = models.DateTimeField(null=True)

    cluster_id: UUID
    operation_id: UUID

    class Meta:
        """Newest first."""

        ordering: ClassVar = ["-pk"]

    @override
    def __str__(self) -> str:
        return f"restore of {self.source_name}"


class Branch(models.Model):
    """A cluster that began as another one was at a sequence, perhaps for a time only."""

    cluster = models.OneToOneField(Cluster, on_delete=models.CASCADE, related_name="branch")
    source = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="branches")
    sequence = models.PositiveBigIntegerField()
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    # None: it stays until somebody deletes it.
    expires_at = models.DateTimeField(null=True)
    # When people were told that it ends; without that it does not.
    noticed_at = models.DateTimeField(null=True)
    # Moved to the recycle bin by itself: whoever takes it out again keeps it.
    ended_at = models.DateTimeField(null=True)

    cluster_id: UUID
    source_id: UUID

    class Meta:
        """Newest first."""

        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [
            models.Index(
                fields=["expires_at"],
                condition=models.Q(ended_at=None, expires_at__isnull=False),
                name="branch_ends",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"branch at {self.sequence}"


class PreviewState(models.TextChoices):
    """Where a preview is."""

    RUNNING = "running", "Being compared"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


class Preview(models.Model):
    """What a restore would change: a state that is kept, compared with that of now."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="previews")
    backup = models.ForeignKey(Backup, on_delete=models.CASCADE, related_name="previews")
    sequence = models.PositiveBigIntegerField()
    state = models.CharField(
        max_length=8, choices=PreviewState.choices, default=PreviewState.RUNNING
    )
    stage = models.CharField(max_length=120, blank=True, default="")
    problem = models.TextField(blank=True, default="")
    # The state that it was compared with, and of each collection how many documents differ.
    now_sequence = models.PositiveBigIntegerField(null=True)
    collections = models.JSONField(default=list)
    requested_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    # It waits for its turn before.
    begun_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    cluster_id: UUID
    backup_id: UUID

    class Meta:
        """Newest first; one at a time of a cluster."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster"],
                condition=models.Q(state="running"),
                name="preview_one_running",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["cluster", "-id"], name="preview_recent"),
        ]

    @override
    def __str__(self) -> str:
        return f"preview of {self.sequence}"
