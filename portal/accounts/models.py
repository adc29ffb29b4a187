"""Users, their sessions and their API tokens; all in the public schema."""

from datetime import datetime
from importlib import import_module
from typing import Any, ClassVar, override
from uuid import UUID

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models.functions import Lower

from portal.core import clock
from portal.core.ids import uuid7


def email_normalize(email: str) -> str:
    """Return the form in which addresses are stored and compared."""
    return email.strip().lower()


class UserManager(BaseUserManager["User"]):
    """Makes users whose address is lower-cased."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Store a user; without a password nobody can sign in as them."""
        user = self.model(email=email_normalize(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str, **fields: Any) -> "User":
        """Store an operator."""
        fields.setdefault("email_confirmed_at", clock.now())
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    @override
    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=email_normalize(username or ""))


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in with an e-mail address."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField(unique=True, max_length=254)
    name = models.CharField(max_length=80, blank=True, default="")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    email_confirmed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    objects: ClassVar[UserManager] = UserManager()

    class Meta:
        """Addresses are lower-cased, by the database's word."""

        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(email=Lower("email")), name="user_email_lower"
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        """Return what to call the person; the operators' site asks by this name."""
        return self.name or self.email

    def get_short_name(self) -> str:
        """Return the first word of the name, or the address."""
        return self.name.split(" ")[0] if self.name else self.email


class UserSession(AbstractBaseSession):
    """A browser that is signed in, with what its owner needs to recognise it."""

    user_id = models.UUIDField(null=True, db_index=True)
    address = models.GenericIPAddressField(null=True)
    agent = models.CharField(max_length=200, blank=True, default="")
    signed_in_at = models.DateTimeField(null=True)

    @classmethod
    @override
    def get_session_store_class(cls) -> Any:
        return import_module(settings.SESSION_ENGINE).SessionStore


class AccessToken(models.Model):
    """A secret by which a program acts for a user; only its hash is stored."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="access_tokens")
    organization = models.ForeignKey(
        "organizations.Organization",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="access_tokens",
    )
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16)
    hash = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    user_id: UUID
    organization_id: UUID | None

    class Meta:
        """Order of creation."""

        ordering: ClassVar = ["pk"]

    @override
    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def is_valid(self, moment: datetime) -> bool:
        """Tell whether the token still opens anything."""
        is_expired = self.expires_at is not None and self.expires_at <= moment
        return self.revoked_at is None and not is_expired
