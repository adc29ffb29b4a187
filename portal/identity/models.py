"""Second factors of people; all in the public schema, no secret in the clear."""

from typing import ClassVar, override
from uuid import UUID

from django.conf import settings
from django.db import models

from portal.core.ids import uuid7


class TotpDevice(models.Model):
    """An authenticator app that shows a code of six digits, another every half a minute."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="totp_devices"
    )
    name = models.CharField(max_length=60)
    # Sealed for this row: copied into another it opens nothing.
    sealed_key = models.BinaryField()
    created_at = models.DateTimeField()
    confirmed_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    # The step of the last code that was accepted: none is accepted twice, nor an older one.
    last_step = models.BigIntegerField(default=-1)
    drift = models.SmallIntegerField(default=0)

    user_id: UUID

    class Meta:
        """Order of creation; one that is being set up for each person."""

        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["user"],
                condition=models.Q(confirmed_at=None),
                name="totp_device_begun_once",
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.name


class Passkey(models.Model):
    """A key pair in a device or a security key; here is the public half."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="passkeys"
    )
    name = models.CharField(max_length=60)
    credential_id = models.BinaryField(unique=True, max_length=1023)
    public_key = models.BinaryField(max_length=2048)
    # A device that counts its signatures and comes with an old count was copied.
    sign_count = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)

    user_id: UUID

    class Meta:
        """Order of creation."""

        ordering: ClassVar = ["pk"]

    @override
    def __str__(self) -> str:
        return self.name


class RecoveryCode(models.Model):
    """A code on paper, for when every other factor is lost; it works once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="recovery_codes"
    )
    hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    user_id: UUID

    class Meta:
        """Order of creation."""

        ordering: ClassVar = ["pk"]

    @override
    def __str__(self) -> str:
        return f"recovery code {self.pk}"
