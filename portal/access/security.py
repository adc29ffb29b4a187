"""Setting what an organization asks of those who enter."""

from django.contrib.sessions.backends.base import SessionBase

from portal.access.types import Access
from portal.core.errors import Conflict, Invalid
from portal.identity.entry import entry_refusal
from portal.organizations.security import FACTORS, SecurityPolicy
from portal.organizations.services import organization_security_set


def policy_set(access: Access, session: SessionBase | None, policy: SecurityPolicy) -> None:
    """Set the policy; who sets it must be able to come back in.

    Raises:
        Invalid: no kind of factor is left, or one is unknown.
        Conflict: the session that sets it would be refused by it.
    """
    if not policy.factors or not set(policy.factors) <= set(FACTORS):
        detail = f"Choose from {', '.join(FACTORS)}."
        raise Invalid.at("/factors", detail)
    if session is not None and entry_refusal(session, access.user, policy) is not None:
        raise Conflict(
            "You would be shut out yourself: sign in with such a second factor first.",
            code="mfa_own",
        )
    organization_security_set(actor=access.user, organization=access.organization, policy=policy)
