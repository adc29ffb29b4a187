"""Clusters, their nodes and keys, and the operations on them; all in the organization's schema."""

from typing import ClassVar, override
from uuid import UUID

from django.db import models

from portal.core.ids import uuid7


class Cluster(models.Model):
    """A database cluster: what is wanted (`desired_…`) and what was seen (`observed`)."""

    class Status(models.TextChoices):
        """As the API shows it."""

        PROVISIONING = "provisioning", "Provisioning"
        RUNNING = "running", "Running"
        DEGRADED = "degraded", "Degraded"
        DELETING = "deleting", "Deleting"
        DELETED = "deleted", "Deleted"
        NEEDS_OPERATOR = "needs_operator", "Needs attention"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=63)
    plan = models.CharField(max_length=32)
    region = models.CharField(max_length=32)
    status = models.CharField(
        max_length=16, choices=Status.choices, default=Status.PROVISIONING, db_index=True
    )
    desired_nodes = models.PositiveSmallIntegerField()
    observed = models.JSONField(default=dict, blank=True)
    observed_at = models.DateTimeField(null=True, blank=True)
    data_plane_id = models.CharField(max_length=32, unique=True, help_text="Hex.")
    admin_key = models.BinaryField(default=b"", help_text="The portal's own key, sealed.")
    authority = models.BinaryField(default=b"", help_text="The cluster's CA, sealed.")
    usage_token = models.BinaryField(default=b"", help_text="What nodes report with, sealed.")
    usage_token_hash = models.CharField(max_length=64, default="", blank=True, db_index=True)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)
    purge_at = models.DateTimeField(null=True, blank=True, help_text="End of the recycle bin.")
    purged_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Names are unique among clusters that are not deleted."""

        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["name"],
                condition=models.Q(deleted_at=None),
                name="cluster_name_once",
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.name

    @property
    def is_recoverable(self) -> bool:
        """Whether the cluster lies in the recycle bin."""
        return self.deleted_at is not None and self.purged_at is None and self.purge_at is not None


class Node(models.Model):
    """A member of a cluster."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="nodes")
    index = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=80)
    host = models.CharField(max_length=253)
    peer_port = models.PositiveIntegerField(default=0)
    http_port = models.PositiveIntegerField(default=0)
    public_key = models.CharField(max_length=64, default="", blank=True)
    gateway_public_key = models.CharField(max_length=64, default="", blank=True)
    material = models.BinaryField(default=b"", help_text="Keys and certificate, sealed.")
    observed = models.JSONField(default=dict, blank=True)

    cluster_id: UUID

    class Meta:
        """One node per place in the cluster."""

        ordering: ClassVar = ["index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["cluster", "index"], name="node_index_once"),
        ]

    @override
    def __str__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """Where clients reach the node."""
        return f"http://{self.host}:{self.http_port}"


class ApiKey(models.Model):
    """A key of the data plane as the portal remembers it: everything but the secret."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="keys")
    key_id = models.CharField(max_length=32, unique=True)
    name = models.CharField(max_length=80)
    scopes = models.JSONField(default=list)
    collections = models.JSONField(default=list)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    cluster_id: UUID

    class Meta:
        """Newest first."""

        ordering: ClassVar = ["-pk"]

    @override
    def __str__(self) -> str:
        return self.name


class Operation(models.Model):
    """Long work on a cluster; success is judged from what is observed, never from the request."""

    class State(models.TextChoices):
        """The life of an operation."""

        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        CANCELLING = "cancelling", "Cancelling"
        CANCELLED = "cancelled", "Cancelled"
        SUCCEEDED = "succeeded", "Succeeded"
        NEEDS_OPERATOR = "needs_operator", "Needs attention"

    class Kind(models.TextChoices):
        """What is done."""

        CREATE = "create", "Create cluster"
        DELETE = "delete", "Move to recycle bin"
        RESTORE = "restore_deleted", "Restore from recycle bin"
        PURGE = "purge", "Delete for good"
        RESTART_NODE = "restart_node", "Restart node"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="operations")
    kind = models.CharField(max_length=24, choices=Kind.choices)
    state = models.CharField(
        max_length=16, choices=State.choices, default=State.QUEUED, db_index=True
    )
    params = models.JSONField(default=dict, blank=True)
    attempt = models.PositiveIntegerField(default=1)
    deadline_at = models.DateTimeField()
    cancel_requested = models.BooleanField(default=False)
    cost_delta = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    requested_by = models.CharField(max_length=254)
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=40, default="", blank=True)
    error = models.TextField(default="", blank=True)
    next_action = models.TextField(default="", blank=True)

    cluster_id: UUID

    class Meta:
        """One running operation per cluster, kept by the database."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster"],
                condition=models.Q(state__in=["running", "cancelling"]),
                name="operation_runs_alone",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.kind} {self.state}"

    @property
    def is_open(self) -> bool:
        """Whether work may still happen without anybody asking again."""
        return self.state in {self.State.QUEUED, self.State.RUNNING, self.State.CANCELLING}

    @property
    def can_cancel(self) -> bool:
        """Whether asking to cancel makes sense."""
        stoppable = {self.State.QUEUED, self.State.RUNNING, self.State.NEEDS_OPERATOR}
        return self.state in stoppable and not self.cancel_requested

    @property
    def can_retry(self) -> bool:
        """Whether it can be tried again from the step that failed."""
        return self.state == self.State.NEEDS_OPERATOR


class OperationStep(models.Model):
    """One idempotent step of an operation."""

    class Status(models.TextChoices):
        """The life of a step."""

        PENDING = "pending", "Pending"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=40)
    title = models.CharField(max_length=80)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    attempt = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    detail = models.CharField(max_length=200, default="", blank=True)
    error = models.TextField(default="", blank=True)

    class Meta:
        """In the order they are done."""

        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["operation", "position"], name="step_position_once"),
        ]

    @override
    def __str__(self) -> str:
        return self.name
