"""Clusters with desired and observed state, their nodes and keys, and operations on them."""

from datetime import datetime
from typing import ClassVar, override
from uuid import UUID

from django.db import models

from portal.clusters.faults import CRASH
from portal.core.ids import uuid7


class ClusterStatus(models.TextChoices):
    """What a cluster is at; the words that clients of the API rely on."""

    PROVISIONING = "provisioning", "Provisioning"
    RUNNING = "running", "Running"
    SCALING = "scaling", "Scaling"
    PAUSED = "paused", "Paused"
    DEGRADED = "degraded", "Degraded"
    DELETING = "deleting", "Deleting"
    DELETED = "deleted", "Deleted"
    NEEDS_OPERATOR = "needs_operator", "Needs attention"


# What answers reads and writes, or says itself why it cannot at the moment.
SERVING = (ClusterStatus.RUNNING, ClusterStatus.DEGRADED, ClusterStatus.SCALING)


class Profile(models.TextChoices):
    """What a cluster is for: nodes of production are never made to go wrong."""

    DEVELOPMENT = "development", "Development"
    PRODUCTION = "production", "Production"


class Cluster(models.Model):
    """One replicated database; secrets are sealed under the installation's key."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    name = models.CharField(max_length=40)
    slug = models.SlugField(max_length=40)
    plan = models.CharField(max_length=32)
    region = models.CharField(max_length=32)
    status = models.CharField(
        max_length=16, choices=ClusterStatus.choices, default=ClusterStatus.PROVISIONING
    )
    desired_nodes = models.PositiveSmallIntegerField()
    profile = models.CharField(
        max_length=12, choices=Profile.choices, default=Profile.DEVELOPMENT, editable=False
    )
    # It may be broken on purpose; nobody relies on what it holds.
    is_sandbox = models.BooleanField(default=False)
    observed = models.JSONField(default=dict)
    observed_at = models.DateTimeField(null=True)
    data_plane_id = models.CharField(max_length=32, unique=True)
    admin_key = models.BinaryField(default=b"")
    authority = models.BinaryField(default=b"")
    encryption = models.CharField(max_length=24, default="", blank=True)  # empty: nodes do not
    wrapped_key = models.BinaryField(default=b"")  # as the keeper of keys wrapped it
    erasure = models.JSONField(default=dict)  # a quorum's certificate, and when its key went
    # The seed whose signature changes the members; empty in clusters made before there was one.
    control_seed = models.BinaryField(default=b"")
    # The key that signs tokens of members, and the id under which the cluster knows it.
    token_seed = models.BinaryField(default=b"")
    token_issuer = models.CharField(max_length=32, blank=True, default="")
    # The state before sequence 1, the same for every node there will ever be; empty until made.
    genesis = models.JSONField(default=dict)
    # How often the members changed, and the sequence at which they did last.
    epoch = models.PositiveIntegerField(default=0)
    base = models.PositiveBigIntegerField(default=0)
    usage_token = models.BinaryField(default=b"")
    usage_token_hash = models.CharField(max_length=64, unique=True)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    ready_at = models.DateTimeField(null=True)
    # Set while it is in the recycle bin and for ever after; `purged_at` when the data is gone.
    deleted_at = models.DateTimeField(null=True)
    purge_at = models.DateTimeField(null=True)
    purged_at = models.DateTimeField(null=True)

    class Meta:
        """Newest first; a name is free again once its cluster is purged."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["slug"], condition=models.Q(purged_at=None), name="cluster_slug_once"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=ClusterStatus.values), name="cluster_status_known"
            ),
            models.CheckConstraint(
                condition=models.Q(profile=Profile.DEVELOPMENT) | models.Q(is_sandbox=False),
                name="cluster_production_is_no_sandbox",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["status"], name="cluster_status")]

    @override
    def __str__(self) -> str:
        return self.name

    @property
    def is_recoverable(self) -> bool:
        """Tell whether it is in the recycle bin."""
        return self.deleted_at is not None and self.purged_at is None

    @property
    def members(self) -> "list[Node]":
        """The nodes that vote."""
        return [node for node in self.nodes.all() if node.membership == Membership.MEMBER]

    @property
    def present_nodes(self) -> "list[Node]":
        """The members, and those that learn to become one."""
        return [node for node in self.nodes.all() if node.membership != Membership.REMOVED]

    @property
    def size(self) -> int:
        """How many members it has, or is to have as long as none is chosen."""
        return len(self.members) or self.desired_nodes


class Membership(models.TextChoices):
    """What a node is to the cluster; an id that was removed is never used again."""

    LEARNER = "learner", "Learner"
    MEMBER = "member", "Member"
    REMOVED = "removed", "Removed"


class Node(models.Model):
    """One node of a cluster: where it is, who it is, how it was last seen."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="nodes")
    # Its id in the data plane.
    index = models.PositiveSmallIntegerField()
    membership = models.CharField(
        max_length=8, choices=Membership.choices, default=Membership.MEMBER
    )
    # Epoch, base and members when it was added; empty for those of the genesis.
    joined = models.JSONField(default=dict)
    name = models.CharField(max_length=64)
    host = models.CharField(max_length=253, default="")
    peer_port = models.PositiveIntegerField(default=0)
    http_port = models.PositiveIntegerField(default=0)
    # 0: made before nodes spoke gRPC.
    grpc_port = models.PositiveIntegerField(default=0)
    public_key = models.CharField(max_length=64, blank=True, default="")
    gateway_public_key = models.CharField(max_length=64, blank=True, default="")
    material = models.BinaryField(default=b"")
    state = models.CharField(max_length=16, default="new")
    observed = models.JSONField(default=dict)
    # How many of the proofs that it keeps were read from it.
    evidence_read = models.PositiveIntegerField(default=0)

    cluster_id: UUID

    class Meta:
        """By index."""

        ordering: ClassVar = ["index"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["cluster", "index"], name="node_once"),
            models.CheckConstraint(
                condition=models.Q(membership__in=Membership.values), name="node_membership_known"
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.name

    @property
    def url(self) -> str:
        """Where its gateway answers; empty before it has an address."""
        return f"http://{self.host}:{self.http_port}" if self.http_port else ""

    @property
    def grpc_address(self) -> str:
        """Where it speaks gRPC; empty where it does not."""
        return f"{self.host}:{self.grpc_port}" if self.grpc_port else ""


class Evidence(models.Model):
    """Proof that a node lied, checked by the portal; one for each lie."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="evidence")
    # The accused.
    node = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=24)
    epoch = models.BigIntegerField()
    view = models.BigIntegerField()
    sequence = models.BigIntegerField()
    proof = models.JSONField()
    reported_at = models.DateTimeField()
    # Set when the node was made to lie at the time: it says nothing about who runs it.
    experiment = models.ForeignKey(
        "Experiment", on_delete=models.SET_NULL, null=True, related_name="evidence"
    )

    experiment_id: UUID | None

    class Meta:
        """Newest first."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster", "node", "kind", "epoch", "view", "sequence"],
                name="evidence_once",
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["cluster", "-id"], name="evidence_recent")]

    @override
    def __str__(self) -> str:
        return f"{self.kind} of node {self.node}"


class EvidenceReport(models.Model):
    """A node that keeps a proof, and when it says it got it."""

    evidence = models.ForeignKey(Evidence, on_delete=models.CASCADE, related_name="reports")
    node = models.PositiveSmallIntegerField()
    seen_at = models.DateTimeField()

    class Meta:
        """By node."""

        ordering: ClassVar = ["node"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["evidence", "node"], name="evidence_report_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"node {self.node}"


class ApiKey(models.Model):
    """A key of the data plane as the portal remembers it: all but the secret."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="keys")
    key_id = models.CharField(max_length=32)
    name = models.CharField(max_length=64)
    scopes = models.JSONField()
    collections = models.JSONField()
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()

    cluster_id: UUID

    class Meta:
        """Newest first."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["cluster", "key_id"], name="api_key_once"),
        ]

    @override
    def __str__(self) -> str:
        return self.name


class OperationState(models.TextChoices):
    """Where an operation is in its life."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    CANCELLING = "cancelling", "Cancelling"
    CANCELLED = "cancelled", "Cancelled"
    SUCCEEDED = "succeeded", "Succeeded"
    NEEDS_OPERATOR = "needs_operator", "Needs attention"


ACTIVE = (OperationState.RUNNING, OperationState.CANCELLING)
UNFINISHED = (OperationState.QUEUED, *ACTIVE)
FINAL = (OperationState.SUCCEEDED, OperationState.CANCELLED)


class OperationKind(models.TextChoices):
    """What can be done to a cluster."""

    CREATE = "create", "Create cluster"
    DELETE = "delete", "Move to recycle bin"
    RESTORE_DELETED = "restore_deleted", "Restore from recycle bin"
    PURGE = "purge", "Delete for good"
    RESTART_NODE = "restart_node", "Restart node"
    SCALE = "scale", "Change size"
    REPLACE_NODE = "replace_node", "Replace node"
    ROTATE_KEYS = "rotate_keys", "Change encryption keys"
    RESTORE_BACKUP = "restore_backup", "Restore backup"
    BREAK = "break", "Break nodes on purpose"
    MEND = "mend", "Mend broken nodes"


BREAKING_KINDS = (OperationKind.BREAK, OperationKind.MEND)


class Operation(models.Model):
    """One piece of long work: any worker can go on with it where another one died."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="operations")
    kind = models.CharField(max_length=24, choices=OperationKind.choices)
    state = models.CharField(
        max_length=16, choices=OperationState.choices, default=OperationState.QUEUED
    )
    params = models.JSONField(default=dict)
    attempt = models.PositiveSmallIntegerField(default=1)
    deadline_at = models.DateTimeField()
    cancel_requested = models.BooleanField(default=False)
    # US dollars an hour that the organization pays more (or less) once it is done.
    cost_delta = models.DecimalField(max_digits=14, decimal_places=6, null=True)
    requested_by = models.CharField(max_length=254)
    error_code = models.CharField(max_length=64, blank=True, default="")
    error = models.TextField(blank=True, default="")
    next_action = models.TextField(blank=True, default="")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    cluster_id: UUID

    class Meta:
        """Newest first; the database allows one active operation a cluster."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster"],
                condition=models.Q(state__in=["running", "cancelling"]),
                name="operation_one_active",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=OperationState.values), name="operation_state_known"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["cluster", "-id"], name="operation_recent"),
            models.Index(
                fields=["state"],
                condition=models.Q(state__in=["queued", "running", "cancelling"]),
                name="operation_unfinished",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.kind} {self.state}"

    @property
    def is_final(self) -> bool:
        """Tell whether nothing more will happen."""
        return self.state in FINAL

    def elapsed_s(self, now: datetime) -> int:
        """Return the seconds since it was asked for, until it ended."""
        return max(0, int(((self.finished_at or now) - self.created_at).total_seconds()))


class StepStatus(models.TextChoices):
    """Where a step is."""

    PENDING = "pending", "Waiting"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Done"
    FAILED = "failed", "Stopped"
    SKIPPED = "skipped", "Not needed"


class OperationStep(models.Model):
    """One idempotent step with a deadline of its own."""

    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=32)
    title = models.CharField(max_length=120)
    status = models.CharField(max_length=12, choices=StepStatus.choices, default=StepStatus.PENDING)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    deadline_at = models.DateTimeField(null=True)
    # What it waits for now, in words; what stopped it when it failed.
    waiting_for = models.TextField(blank=True, default="")
    error = models.TextField(blank=True, default="")

    class Meta:
        """In order of execution."""

        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["operation", "position"], name="step_once"),
        ]

    @override
    def __str__(self) -> str:
        return self.title


class ExperimentStatus(models.TextChoices):
    """Where an experiment is."""

    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    REVERTING = "reverting", "Reverting"
    RECOVERING = "recovering", "Recovering"
    OVER = "over", "Over"


# Nodes are, or may be, broken.
BROKEN = (ExperimentStatus.STARTING, ExperimentStatus.RUNNING, ExperimentStatus.REVERTING)


class Experiment(models.Model):
    """Nodes of a cluster that are broken on purpose, until a time that outlives any process."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="experiments")
    # How each broken node goes wrong, by its index as text.
    faults = models.JSONField()
    is_beyond_f = models.BooleanField()
    status = models.CharField(
        max_length=12, choices=ExperimentStatus.choices, default=ExperimentStatus.STARTING
    )
    started_by = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    running_at = models.DateTimeField(null=True)
    ends_at = models.DateTimeField()
    # Why and by whom it was ended, and when the nodes were as before.
    reason = models.CharField(max_length=16, blank=True, default="")
    ended_by = models.CharField(max_length=254, blank=True, default="")
    reverted_at = models.DateTimeField(null=True)
    over_at = models.DateTimeField(null=True)
    outcome = models.JSONField(default=dict)

    cluster_id: UUID

    class Meta:
        """Newest first; one at a time for a cluster."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["cluster"],
                condition=~models.Q(status=ExperimentStatus.OVER),
                name="experiment_one_at_a_time",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"experiment {self.status}"

    @property
    def broken(self) -> dict[int, str]:
        """How each broken node goes wrong."""
        return {int(index): str(behaviour) for index, behaviour in self.faults.items()}

    @property
    def crashed(self) -> list[int]:
        """Which nodes are to be down."""
        return [index for index, behaviour in self.broken.items() if behaviour == CRASH]


class ExperimentRecord(models.Model):
    """A second of an experiment (`sample`), or an event as honest nodes or the portal tell it."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="records")
    at = models.DateTimeField()
    kind = models.CharField(max_length=12)
    # Who tells it, and of whom.
    node = models.PositiveSmallIntegerField(null=True)
    about = models.PositiveSmallIntegerField(null=True)
    facts = models.JSONField(default=dict)

    class Meta:
        """In the order in which they were taken down."""

        ordering: ClassVar = ["pk"]

    @override
    def __str__(self) -> str:
        return self.kind
