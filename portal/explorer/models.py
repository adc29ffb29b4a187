"""Imports: the file, how to read it, and how far the work is."""

from typing import ClassVar, override

from django.db import models

from portal.core.ids import uuid7


class ImportJob(models.Model):
    """One file on its way into a collection; any worker can go on where another stopped."""

    class State(models.TextChoices):
        """What becomes of an import."""

        DRAFT = "draft", "Being prepared"
        QUEUED = "queued", "Waiting"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Done"
        FAILED = "failed", "Stopped"
        CANCELLED = "cancelled", "Cancelled"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    cluster_id = models.UUIDField()
    collection = models.CharField(max_length=63)
    name = models.CharField(max_length=200)
    state = models.CharField(max_length=16, choices=State.choices, default=State.DRAFT)
    format = models.CharField(max_length=8)
    columns = models.JSONField(default=dict)
    id_field = models.CharField(max_length=200, blank=True, default="")
    # Emptied when the import has ended: the data is in the cluster, not here.
    content = models.BinaryField(default=b"")
    size_bytes = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    row_count = models.PositiveIntegerField()
    # Rows up to here have an outcome; a new attempt starts behind them.
    done_count = models.PositiveIntegerField(default=0)
    created_count = models.PositiveIntegerField(default=0)
    updated_count = models.PositiveIntegerField(default=0)
    failed_count = models.PositiveIntegerField(default=0)
    # [{"row", "detail"}], the first hundred.
    errors = models.JSONField(default=list)
    problem = models.TextField(blank=True, default="")
    # A resumed import asks anew instead of hearing the old refusal again.
    attempt = models.PositiveSmallIntegerField(default=1)
    requested_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    waiting_since = models.DateTimeField(null=True)

    class Meta:
        """Jobs are listed per cluster, newest first, and swept by state."""

        ordering: ClassVar = ["-created_at"]
        indexes: ClassVar = [
            models.Index(fields=["cluster_id", "-created_at"], name="import_job_recent"),
            models.Index(fields=["state"], name="import_job_state"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(done_count__lte=models.F("row_count")),
                name="import_job_progress",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.name} into {self.collection}"

    @property
    def is_open(self) -> bool:
        """Answer whether work is still to be done."""
        return self.state in {self.State.QUEUED, self.State.RUNNING}

    @property
    def percent(self) -> int:
        """Answer how much is done."""
        return self.done_count * 100 // self.row_count if self.row_count else 100
