"""Invitations, teams and grants; in the organization's schema.

People live in the public schema, so they are named by id here, without a foreign key.
"""

from datetime import datetime, timedelta
from typing import ClassVar, override
from uuid import UUID

from django.db import models

from portal.access.types import CLUSTER, EVERYWHERE, LABEL
from portal.core.ids import uuid7
from portal.organizations.models import Role


class Invitation(models.Model):
    """Someone was asked by mail to join; the link's secret is stored hashed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=16, choices=Role.choices)
    hash = models.CharField(max_length=64, unique=True)
    invited_by_id = models.UUIDField()
    invited_by_label = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    # How long the link works from each sending.
    life = models.DurationField(default=timedelta(days=7))
    expires_at = models.DateTimeField()
    teams: "models.ManyToManyField[Team, models.Model]" = models.ManyToManyField(
        "Team", related_name="invitations"
    )
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    pk: UUID

    class Meta:
        """One open invitation for an address."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["email"],
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="invitation_open_once",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.email} as {self.role}"

    @property
    def sent_at(self) -> datetime:
        """When the link was sent the last time."""
        return self.expires_at - self.life


class Team(models.Model):
    """Some members under one name, to whom roles are granted together."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=60, unique=True)
    created_at = models.DateTimeField()

    pk: UUID

    class Meta:
        """By name."""

        ordering: ClassVar = ["name"]

    @override
    def __str__(self) -> str:
        return self.name


class TeamMember(models.Model):
    """A member of the organization is in a team."""

    id = models.BigAutoField(primary_key=True)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="members")
    user_id = models.UUIDField(db_index=True)
    added_at = models.DateTimeField()

    class Meta:
        """A person is in a team once."""

        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "user_id"], name="team_member_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.user_id} in {self.team_id}"


class CustomRole(models.Model):
    """A role of the organization's own: a set of permissions under a name."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    name = models.CharField(max_length=40, unique=True)
    description = models.CharField(max_length=200, blank=True, default="")
    permissions = models.JSONField(default=list)
    created_at = models.DateTimeField()

    class Meta:
        """By name."""

        ordering: ClassVar = ["name"]

    @override
    def __str__(self) -> str:
        return self.name


class ScopeKind(models.TextChoices):
    """Where a grant holds."""

    ORGANIZATION = EVERYWHERE, "Whole organization"
    LABEL = LABEL, "Clusters with a label"
    CLUSTER = CLUSTER, "One cluster"


class RoleBinding(models.Model):
    """A role that a person or a team has beside their own, in a scope, perhaps for a time."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    user_id = models.UUIDField(null=True)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="bindings")
    # One of the two: a built-in role, or one of the organization's own.
    role = models.CharField(max_length=16, choices=Role.choices, blank=True, default="")
    custom_role = models.ForeignKey(
        CustomRole, on_delete=models.PROTECT, null=True, related_name="bindings"
    )
    scope_kind = models.CharField(max_length=16, choices=ScopeKind.choices)
    # The label, or the id of the cluster.
    scope = models.CharField(max_length=40, blank=True, default="")
    reason = models.CharField(max_length=200, blank=True, default="")
    granted_by_id = models.UUIDField()
    granted_by_label = models.CharField(max_length=254)
    created_at = models.DateTimeField()
    expires_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True
    )

    class Meta:
        """Newest first; the same role in the same scope is granted to somebody once."""

        ordering: ClassVar = ["-pk"]
        indexes: ClassVar = [models.Index(fields=["user_id"], name="binding_user")]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(user_id=None) ^ models.Q(team=None), name="binding_one_principal"
            ),
            models.CheckConstraint(
                condition=models.Q(scope_kind=EVERYWHERE, scope="")
                | (models.Q(scope_kind__in=[LABEL, CLUSTER]) & ~models.Q(scope="")),
                name="binding_scope_fits",
            ),
            models.CheckConstraint(
                condition=(
                    models.Q(role__in=[role.value for role in Role], custom_role=None)
                    & ~models.Q(role__in=[Role.OWNER, Role.MEMBER])
                )
                | (models.Q(role="") & ~models.Q(custom_role=None)),
                name="binding_role_known",
            ),
            models.UniqueConstraint(
                fields=["user_id", "team", "role", "custom_role", "scope_kind", "scope"],
                nulls_distinct=False,
                name="binding_once",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.role_name} on {self.scope_kind} {self.scope}".strip()

    @property
    def role_name(self) -> str:
        """The role as people call it; reads `custom_role`."""
        return Role(self.role).label if self.custom_role is None else self.custom_role.name

    @property
    def role_code(self) -> str:
        """The role as programs name it: a built-in one's code, or the id of a custom one."""
        return self.role or str(self.custom_role_id)


class ElevationState(models.TextChoices):
    """Where a request for more stands."""

    REQUESTED = "requested", "Waits for approval"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"
    WITHDRAWN = "withdrawn", "Withdrawn"
    LAPSED = "lapsed", "Nobody decided in time"


class Elevation(models.Model):
    """A member asks for a role for some hours; another one approves or denies."""

    id: models.UUIDField[UUID, UUID] = models.UUIDField(
        primary_key=True, default=uuid7, editable=False
    )
    user_id = models.UUIDField()
    user_label = models.CharField(max_length=254)
    # A built-in role's code, or the id of a custom one; with its name of the time.
    role = models.CharField(max_length=40)
    role_name = models.CharField(max_length=40)
    scope_kind = models.CharField(max_length=16, choices=ScopeKind.choices)
    scope = models.CharField(max_length=40, blank=True, default="")
    minutes = models.PositiveSmallIntegerField()
    reason = models.CharField(max_length=200)
    state = models.CharField(
        max_length=16, choices=ElevationState.choices, default=ElevationState.REQUESTED
    )
    requested_at = models.DateTimeField()
    decided_at: models.DateTimeField[datetime | None, datetime | None] = models.DateTimeField(
        null=True
    )
    decided_by_label = models.CharField(max_length=254, blank=True, default="")
    # The grant that the approval made, while it is there.
    binding = models.OneToOneField(
        RoleBinding, on_delete=models.SET_NULL, null=True, related_name="elevation"
    )

    class Meta:
        """Newest first; one open request for the same thing."""

        ordering: ClassVar = ["-pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user_id", "role", "scope_kind", "scope"],
                condition=models.Q(state=ElevationState.REQUESTED),
                name="elevation_open_once",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=ElevationState.values), name="elevation_state_known"
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.role_name} for {self.user_label}"


class ClusterLabel(models.Model):
    """A word on a cluster, by which grants mean several clusters."""

    id = models.BigAutoField(primary_key=True)
    cluster_id = models.UUIDField()
    label = models.CharField(max_length=40, db_index=True)

    class Meta:
        """A cluster has a label once."""

        ordering: ClassVar = ["label", "pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["cluster_id", "label"], name="cluster_label_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.label} on {self.cluster_id}"
