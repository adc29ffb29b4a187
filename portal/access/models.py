"""Invitations; in the organization's schema."""

from typing import ClassVar, override
from uuid import UUID

from django.db import models

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
    expires_at = models.DateTimeField()
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
