"""Confirming who one is before something that cannot be taken back; it holds for five minutes.

A session that was left open, or stolen, is not enough for it. Who has a second factor confirms with
that, everybody else with the password; signing in counts as well. With a confirmation the session
gets another key, so that one that was copied before does not carry it. A token acts by itself: it
was made under a confirmation, with scopes. What takes the person even so asks with each call.
"""

from django.http import HttpRequest
from rest_framework.request import Request

from portal.accounts.models import User
from portal.audit.services import audit_record
from portal.core import clock
from portal.core.tenancy import is_public, public_context
from portal.core.throttling import limit
from portal.identity.constants import (
    CONFIRMED_FOR,
    PASSWORD_LENGTH_MAX,
    PASSWORD_TRIES_PER_HOUR,
    SENSITIVE_ACTIONS,
)
from portal.identity.errors import FactorWrong, ReauthenticationRequired, WrongPassword
from portal.identity.selectors import has_factor
from portal.identity.services import factor_check

CONFIRMED_KEY = "confirmed_at"
FACTORS_KEY = "factors"


def is_recent(request: HttpRequest | Request) -> bool:
    """Tell whether this session confirmed its user in the last minutes."""
    if is_by_token(request):
        return False
    at = request.session.get(CONFIRMED_KEY)
    age_s = clock.now().timestamp() - at if isinstance(at, float) else -1.0
    return 0 <= age_s < CONFIRMED_FOR.total_seconds()


def is_by_token(request: HttpRequest | Request) -> bool:
    """Tell whether a program calls, with a token."""
    return getattr(request, "access_token", None) is not None


def require_recent(
    request: HttpRequest | Request, *, action: str, proof: str = "", tokens_pass: bool = True
) -> None:
    """Go on only if the user confirmed who they are just now, or does so with this proof.

    The proof is a code for who has a second factor, and the password for everybody else.

    Raises:
        ReauthenticationRequired: there was no confirmation and there is no proof.
        WrongPassword: it is not the user's; that too is in the audit trail.
        FactorWrong: the code is not right, or was used before.
        FactorLocked: too many codes were tried.
        RateLimited: too many passwords were tried.
    """
    assert action in SENSITIVE_ACTIONS, f"unknown action {action}"
    if (tokens_pass and is_by_token(request)) or (not proof and is_recent(request)):
        return
    if not proof:
        raise ReauthenticationRequired(
            f"Confirm that it is you to {SENSITIVE_ACTIONS[action]}.", action=action
        )
    user = request.user
    assert isinstance(user, User)
    try:
        shown = _proof_check(user, proof)
    except (WrongPassword, FactorWrong):
        _record(user, "member.confirmation_failed")
        raise
    if not is_by_token(request):
        confirmation_note(request)
        factor_note(request, shown)
    _record(user, "member.confirmed")


def confirmation_add(request: HttpRequest) -> None:
    """Confirm by a proof that was checked elsewhere: a passkey's signature."""
    assert isinstance(request.user, User)
    confirmation_note(request)
    factor_note(request, "passkey")
    _record(request.user, "member.confirmed")


def confirmation_note(request: HttpRequest | Request) -> None:
    """Remember the confirmation, under a new key of the session."""
    # No organization's role sees sessions.
    with public_context():
        request.session.cycle_key()
    request.session[CONFIRMED_KEY] = clock.now().timestamp()


def factor_note(request: HttpRequest | Request, factor: str) -> None:
    """Remember that this session has shown a factor after it began."""
    shown = request.session.get(FACTORS_KEY)
    kept = list(shown) if isinstance(shown, list) else []
    if factor not in kept:
        request.session[FACTORS_KEY] = [*kept, factor]


def _proof_check(user: User, proof: str) -> str:
    if has_factor(user):
        return factor_check(user, proof)
    limit(f"password:{user.pk}", most=PASSWORD_TRIES_PER_HOUR, window_s=3600)
    if len(proof) > PASSWORD_LENGTH_MAX or not user.check_password(proof):
        raise WrongPassword("This is not your password.")
    return "password"


def _record(user: User, action: str) -> None:
    if not is_public():
        audit_record(
            access_or_actor=user,
            action=action,
            target_type="member",
            target_id=user.pk,
            target_label=user.email,
        )
