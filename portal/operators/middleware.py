"""Who sees the operators' pages, and their content policy."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.utils.csp import CSP

from portal.accounts.models import User
from portal.core.errors import NotFound
from portal.core.http import error_response
from portal.identity.signin import signed_in_by_factor

PREFIX = "/operators/"
FACTOR_FOR: Final = timedelta(hours=12)
POLICY = {
    **settings.SECURE_CSP,
    # The admin's theme evaluates expressions in its markup and writes styles into it. Only staff
    # ever load these pages, and their text is escaped by the same templates.
    "script-src": [CSP.SELF, CSP.UNSAFE_EVAL],
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
}


class OperatorsPolicyMiddleware:
    """Gives the admin the policy its theme needs; every other page keeps the strict one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request."""
        response = self._get_response(request)
        if request.path.startswith(PREFIX):
            response._csp_config = POLICY  # type: ignore[attr-defined]  # noqa: SLF001 - as csp_override does
        return response


class OperatorsFactorMiddleware:
    """Lets operators in who signed in with a second factor today, by the one way of signing in.

    The admin has a form of its own, which asks for a password alone: nobody sees it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer operators; everybody else as if there were nothing, or with the way in."""
        if not request.path.startswith(PREFIX):
            return self._get_response(request)
        user = request.user
        if isinstance(user, User) and not user.is_staff:
            return error_response(request, NotFound())
        if isinstance(user, User) and signed_in_by_factor(request, within=FACTOR_FOR):
            return self._get_response(request)
        if isinstance(user, User):
            logout(request)
        return redirect_to_login(PREFIX)
