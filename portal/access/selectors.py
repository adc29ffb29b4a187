"""Reading invitations, and who holds which permission."""

from portal.access.models import Invitation
from portal.access.permissions import PERMISSIONS
from portal.accounts.models import User
from portal.accounts.tokens import token_hash
from portal.core import clock
from portal.organizations.models import Organization
from portal.organizations.selectors import member_list


def invitation_list() -> list[Invitation]:
    """Return the open invitations of the organization in force, expired ones included."""
    return list(Invitation.objects.filter(accepted_at=None, revoked_at=None).order_by("-pk"))


def invitation_by_secret(secret: str) -> Invitation | None:
    """Return the invitation that a link names, if it can still be accepted."""
    return Invitation.objects.filter(
        hash=token_hash(secret), accepted_at=None, revoked_at=None, expires_at__gt=clock.now()
    ).first()


def permission_holders(organization: Organization, permission: str) -> list[User]:
    """Return the people who hold a permission in the organization, oldest members first."""
    return [
        member.user
        for member in member_list(organization)
        if member.user.is_active and permission in PERMISSIONS[member.role]
    ]
