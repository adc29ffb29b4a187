"""Organizations and memberships; both in the public schema."""

from typing import ClassVar, override
from uuid import UUID

from django.conf import settings
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

from portal.core.ids import uuid7


class Role(models.TextChoices):
    """What a member may do; `portal.access.permissions` spells it out."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    DEVELOPER = "developer", "Developer"
    ANALYST = "analyst", "Analyst"
    VIEWER = "viewer", "Viewer"
    BILLING_ADMIN = "billing_admin", "Billing Admin"
    MEMBER = "member", "Member"


class Organization(TenantMixin):  # type: ignore[misc]  # no stubs
    """A team: one schema and one database role, both named `schema_name`."""

    # The service makes the schema, quicker than migrations would.
    auto_create_schema = False
    auto_drop_schema = False

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    slug = models.SlugField(max_length=48, unique=True)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)
    # What is asked of those who enter: `portal.organizations.security` reads it.
    security = models.JSONField(default=dict, blank=True)

    class Meta:
        """Order of creation."""

        ordering: ClassVar = ["pk"]

    @override
    def __str__(self) -> str:
        return self.name


class Domain(DomainMixin):  # type: ignore[misc]  # no stubs
    """Required by django-tenants; requests are routed by path, so the table stays empty."""


class Membership(models.Model):
    """A user belongs to an organization in a role."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=16, choices=Role.choices)
    created_at = models.DateTimeField()

    user_id: UUID
    organization_id: UUID

    class Meta:
        """A person has one role in an organization."""

        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "organization"], name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(role__in=[role.value for role in Role]),
                name="membership_role_known",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id} as {self.role}"
