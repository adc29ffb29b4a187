"""What a request may do in the organization it addresses."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from portal.accounts.models import User
from portal.organizations.models import Organization, Role


@dataclass(frozen=True, slots=True)
class Access:
    """A member, in a role, in an organization."""

    user: User
    organization: Organization
    role: str
    permissions: AbstractSet[str]

    @property
    def role_name(self) -> str:
        """The role as people call it."""
        return Role(self.role).label

    def can(self, permission: str) -> bool:
        """Tell whether the role includes the permission."""
        return permission in self.permissions
