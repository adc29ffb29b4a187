"""The content policy of the operators' pages."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.csp import CSP

PREFIX = "/operators/"
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
