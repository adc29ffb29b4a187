"""Access of WebSockets: the same question as for requests, asked anew each time."""

from http.cookies import CookieError, SimpleCookie
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest

from portal.access.resolving import access_of
from portal.access.types import Access
from portal.accounts.models import AccessToken, User
from portal.accounts.services import token_authenticate
from portal.accounts.sessions import SessionStore
from portal.core.tenancy import public_context, tenant_context
from portal.identity.entry import entry_refusal
from portal.organizations.security import policy_of
from portal.organizations.selectors import membership_get

_SCHEME = "bearer "


async def access_for_scope(scope: Any, slug: str) -> Access | None:
    """Return the caller's access to the organization, or None for strangers.

    Nothing is remembered: a session that ended or a membership that was taken away shows at the
    next call (four queries).
    """
    headers = {name.lower(): value for name, value in scope.get("headers", [])}
    return await database_sync_to_async(_access)(headers, slug)


def _access(headers: dict[bytes, bytes], slug: str) -> Access | None:
    with public_context():
        token = _token(headers)
        user = token.user if token is not None else _session_user(headers)
        if user is None or not user.is_active:
            return None
        membership = membership_get(user_id=user.pk, slug=slug)
        if membership is None:
            return None
        if token is not None and token.organization_id not in {None, membership.organization_id}:
            return None
        if token is None:
            policy = policy_of(membership.organization.security)
            if entry_refusal(_session(headers), user, policy) is not None:
                return None
        with tenant_context(membership.organization.schema_name):
            return access_of(user, membership, token)


def _token(headers: dict[bytes, bytes]) -> AccessToken | None:
    value = headers.get(b"authorization", b"").decode("latin-1")
    if not value.lower().startswith(_SCHEME):
        return None
    return token_authenticate(value[len(_SCHEME) :].strip())


def _session(headers: dict[bytes, bytes]) -> SessionStore:
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return SessionStore()
    cookie = cookies.get(settings.SESSION_COOKIE_NAME)
    return SessionStore(cookie.value if cookie is not None else None)


def _session_user(headers: dict[bytes, bytes]) -> User | None:
    request = HttpRequest()
    request.session = _session(headers)
    user = get_user(request)
    return user if isinstance(user, User) else None
