"""The API's authentication: the middleware has decided, and sessions need the CSRF token."""

from typing import Any, override

from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request

from portal.accounts.models import User


class RequestUserAuthentication(SessionAuthentication):
    """Takes the user of the request; checks CSRF unless a token was sent."""

    @override
    def authenticate(self, request: Request) -> tuple[User, Any] | None:
        plain = request._request  # noqa: SLF001 - as the base class does.
        user = plain.user
        if not isinstance(user, User) or not user.is_active:
            return None
        token = getattr(plain, "access_token", None)
        if token is None:
            self.enforce_csrf(request)
        return user, token

    @override
    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="aerolith"'
