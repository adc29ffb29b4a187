"""Reading invitations."""

from portal.access.models import Invitation
from portal.accounts.tokens import token_hash
from portal.core import clock


def invitation_list() -> list[Invitation]:
    """Return the open invitations of the organization in force, expired ones included."""
    return list(Invitation.objects.filter(accepted_at=None, revoked_at=None).order_by("-pk"))


def invitation_by_secret(secret: str) -> Invitation | None:
    """Return the invitation that a link names, if it can still be accepted."""
    return Invitation.objects.filter(
        hash=token_hash(secret), accepted_at=None, revoked_at=None, expires_at__gt=clock.now()
    ).first()
