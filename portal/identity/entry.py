"""What an organization asks of a session before it lets it in.

Each organization asks for itself: what one requires does not bind the pages of another. Programs
with tokens are not asked: a token was made by somebody who had been let in.
"""

from django.contrib.sessions.backends.base import SessionBase
from django.db.models import QuerySet

from portal.accounts.models import User
from portal.core.errors import PortalError
from portal.core.tenancy import public_context
from portal.identity.errors import MfaEnrolmentRequired, MfaRequired
from portal.identity.models import Passkey, TotpDevice
from portal.identity.selectors import factors_of
from portal.identity.stepup import FACTORS_KEY
from portal.identity.types import FACTOR_WORDS, FactorKind
from portal.organizations.models import Membership, Organization
from portal.organizations.security import SecurityPolicy, policy_of
from portal.organizations.selectors import member_query, memberships_of

# It stands in for a factor that was lost, so that who lost it is not shut out.
_STAND_IN = "recovery"


def entry_refusal(session: SessionBase, user: User, policy: SecurityPolicy) -> PortalError | None:
    """Return why a session may not enter, or None; asks the database only to say which it is."""
    if not policy.mfa_required:
        return None
    shown = session.get(FACTORS_KEY)
    if isinstance(shown, list) and not {*policy.factors, _STAND_IN}.isdisjoint(shown):
        return None
    words = " or ".join(FACTOR_WORDS[FactorKind(kind)].lower() for kind in policy.factors)
    if any(factor.kind in policy.factors for factor in factors_of(user)):
        return MfaRequired(f"This organization asks for your second factor: {words}.")
    return MfaEnrolmentRequired(f"This organization asks for a second factor: set up {words}.")


def entry_refusal_anywhere(session: SessionBase, user: User) -> PortalError | None:
    """Return why one of the person's organizations would not let this session in, or None.

    A token for all of them is asked for by nobody later: it must not be made from outside.
    """
    for membership in memberships_of(user.pk):
        policy = policy_of(membership.organization.security)
        if (refusal := entry_refusal(session, user, policy)) is not None:
            return refusal
    return None


def members_without(organization: Organization, policy: SecurityPolicy) -> list[Membership]:
    """Return the members who have no factor that counts, oldest first."""
    with public_context():
        members = list(member_query(organization))
        people = [member.user_id for member in members]
        having: set[object] = set()
        for kind, rows in _rows().items():
            if kind in policy.factors:
                having |= set(rows.filter(user__in=people).values_list("user", flat=True))
    return [member for member in members if member.user_id not in having]


def _rows() -> dict[str, QuerySet[TotpDevice] | QuerySet[Passkey]]:
    return {
        "totp": TotpDevice.objects.exclude(confirmed_at=None),
        "passkey": Passkey.objects.all(),
    }
