"""Confirming who one is before something that cannot be taken back: by the password, for minutes.

A session that was left open, or stolen, is not enough for it. A confirmation is kept in the session
and holds for five minutes; programs that come with a token send the password each time.
"""

from datetime import timedelta
from typing import Final

from django.http import HttpRequest
from rest_framework.request import Request

from portal.accounts.errors import ReauthenticationRequired, WrongPassword
from portal.accounts.models import User
from portal.audit.services import audit_record
from portal.core import clock
from portal.core.tenancy import is_public
from portal.core.throttling import limit

FRESH: Final = timedelta(minutes=5)
TRIES_PER_HOUR: Final = 20
PASSWORD_LENGTH_MAX: Final = 256
_KEY: Final = "confirmed_at"


def is_confirmed(request: HttpRequest | Request) -> bool:
    """Tell whether this session confirmed its user in the last minutes."""
    if getattr(request, "access_token", None) is not None:
        return False
    at = request.session.get(_KEY)
    age_s = clock.now().timestamp() - at if isinstance(at, float) else -1.0
    return 0 <= age_s < FRESH.total_seconds()


def require_confirmed(request: HttpRequest | Request, password: str) -> None:
    """Go on only if the user confirmed who they are just now, or does so with this password.

    Raises:
        ReauthenticationRequired: there was no confirmation and there is no password.
        WrongPassword: it is not the user's; that too is in the audit trail.
        RateLimited: there were too many tries.
    """
    if not password and is_confirmed(request):
        return
    if not password:
        raise ReauthenticationRequired("Enter your password to confirm that it is you.")
    user = request.user
    assert isinstance(user, User)
    limit(f"password:{user.pk}", most=TRIES_PER_HOUR, window_s=3600)
    if len(password) > PASSWORD_LENGTH_MAX or not user.check_password(password):
        _record(user, "member.confirmation_failed")
        raise WrongPassword("This is not your password.")
    if getattr(request, "access_token", None) is None:
        request.session[_KEY] = clock.now().timestamp()
    _record(user, "member.confirmed")


def _record(user: User, action: str) -> None:
    if not is_public():
        audit_record(
            access_or_actor=user,
            action=action,
            target_type="member",
            target_id=user.pk,
            target_label=user.email,
        )
