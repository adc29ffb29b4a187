"""Pages that take a confirmation lead to it and back."""

from urllib.parse import urlencode, urlsplit

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.deprecation import MiddlewareMixin
from django.utils.http import url_has_allowed_host_and_scheme

from portal.core.http import is_api
from portal.identity.errors import ReauthenticationRequired


class StepUpMiddleware(MiddlewareMixin):
    """Turns a missing confirmation into the page that asks for it; programs get the error."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer people; leave the rest to whoever answers errors."""
        is_page = not is_api(request) and "application/json" not in request.headers.get(
            "Accept", ""
        )
        if not isinstance(error, ReauthenticationRequired) or not is_page:
            return None
        asked = {"next": _way_back(request), "action": str(error.fields.get("action", ""))}
        return redirect(f"{reverse('account-confirm')}?{urlencode(asked)}")


def _way_back(request: HttpRequest) -> str:
    """Return the page to come back to: for a form, the one that it is on."""
    if request.method == "GET":
        return request.get_full_path()
    came_from = request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(
        came_from, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    parts = urlsplit(came_from)
    if not is_ours or not parts.path.startswith("/"):
        return "/account/"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
