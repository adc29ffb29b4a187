"""The one way in: whoever has shown a first proof comes here, whatever the proof was.

A person with a second factor is not signed in until it is there: the session only remembers for
ten minutes who is on the way, and opens nothing with it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare

from portal.accounts.models import User
from portal.accounts.sessions import ADDRESS_KEY, AGENT_KEY, SIGNED_IN_KEY
from portal.core import clock
from portal.core.http import client_ip
from portal.core.tenancy import public_context
from portal.identity.constants import PENDING_FOR
from portal.identity.selectors import has_factor
from portal.identity.stepup import FACTORS_KEY, confirmation_note

HOME = "/organizations/"
_PENDING_KEY = "pending_sign_in"
_PROOF_WORDS = {
    "password": "password",
    "totp": "code of an app",
    "recovery": "recovery code",
    "passkey": "passkey",
    "verified": "finger, face or PIN",
}


@dataclass(frozen=True, slots=True)
class Pending:
    """Someone who has shown one proof and owes another."""

    user: User
    method: str
    next_path: str
    must_enrol: bool


def sign_in_begin(
    request: HttpRequest, user: User, *, method: str, next_path: str = "", is_strong: bool = False
) -> HttpResponse:
    """Sign in, or ask for what is missing; `is_strong` says that the proof was two in one."""
    if not user.is_active:
        return redirect("login")
    if is_strong:
        # What one has, and the finger or PIN that opened it.
        factors = [method, "verified"]
        return session_start(request, user, factors=factors, next_path=next_path)
    must_enrol = not has_factor(user)
    if must_enrol and not user.is_staff:
        return session_start(request, user, factors=[method], next_path=next_path)
    # Who planted a session id before knows another one than what follows.
    request.session.cycle_key()
    request.session[_PENDING_KEY] = {
        "user": str(user.pk),
        "hash": user.get_session_auth_hash(),
        "method": method,
        "next": next_path,
        "at": clock.now().timestamp(),
        "must_enrol": must_enrol,
    }
    return redirect("login-enrol" if must_enrol else "login-factor")


def pending_of(request: HttpRequest) -> Pending | None:
    """Return who is on the way in; None if nobody is, or they took too long.

    A new password, or an account that was switched off meanwhile, ends it.
    """
    kept = request.session.get(_PENDING_KEY)
    if not isinstance(kept, dict):
        return None
    age_s = clock.now().timestamp() - float(kept["at"])
    if not 0 <= age_s < PENDING_FOR.total_seconds():
        return None
    with public_context():
        user = User.objects.filter(pk=kept["user"], is_active=True).first()
    if user is None or not constant_time_compare(kept["hash"], user.get_session_auth_hash()):
        return None
    return Pending(user, str(kept["method"]), str(kept["next"]), bool(kept["must_enrol"]))


def sign_in_finish(request: HttpRequest, pending: Pending, *, factor: str) -> HttpResponse:
    """Sign in who has shown the second factor too."""
    return session_start(
        request,
        pending.user,
        factors=[pending.method, factor],
        next_path=pending.next_path,
    )


def signed_in_by_factor(request: HttpRequest, *, within: timedelta) -> bool:
    """Tell whether this session began with two proofs, not longer ago than that."""
    factors = request.session.get(FACTORS_KEY)
    began = request.session.get(SIGNED_IN_KEY)
    if not isinstance(factors, list) or not isinstance(began, str):
        return False
    is_fresh = clock.now() - datetime.fromisoformat(began) < within
    return is_fresh and len(factors) > 1


def proof_words(factors: object) -> str:
    """Return by which proofs a session began, for its owner to recognise."""
    known = factors if isinstance(factors, list) else []
    return " and ".join(_PROOF_WORDS[name] for name in known if name in _PROOF_WORDS)


def session_start(
    request: HttpRequest, user: User, *, factors: list[str], next_path: str
) -> HttpResponse:
    """Start the session: the only place that does, so that none lacks these facts."""
    session_open(request, user, factors=factors)
    return redirect(next_path or HOME)


def session_open(request: HttpRequest, user: User, *, factors: list[str]) -> None:
    """Sign in, without an answer."""
    request.session.pop(_PENDING_KEY, None)
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[-1])
    request.session[ADDRESS_KEY] = client_ip(request)
    request.session[AGENT_KEY] = request.headers.get("User-Agent", "")[:200]
    request.session[SIGNED_IN_KEY] = clock.now().isoformat()
    request.session[FACTORS_KEY] = factors
    confirmation_note(request)
