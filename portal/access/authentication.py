"""The API's authentication: the middleware has decided, and sessions need the CSRF token."""

from typing import Any, override

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
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


class RequestUserScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # untyped base.
    """How the schema describes it."""

    target_class = "portal.access.authentication.RequestUserAuthentication"
    name = "token"

    @override
    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "aer_…"}
