"""Who calls, and in which organization: decided once, before any view runs."""

import re
from collections.abc import Callable
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from portal.access.resolving import access_of
from portal.accounts.models import AccessToken, User
from portal.accounts.services import token_authenticate
from portal.core import logs
from portal.core.errors import NotFound, Unauthenticated
from portal.core.http import error_response, is_api, problem_response
from portal.core.tenancy import public_context, tenant_context
from portal.identity.entry import entry_refusal
from portal.identity.errors import MfaEnrolmentRequired
from portal.organizations.models import Membership
from portal.organizations.security import policy_of
from portal.organizations.selectors import membership_get

type GetResponse = Callable[[HttpRequest], HttpResponse]

_TENANT_PATH = re.compile(r"^/(?:o|api/v1/orgs)/(?P<slug>[-a-zA-Z0-9_]+)(?:/|$)")
_TOKEN_PATHS = ("/api/", "/o/")
_SCHEME = "bearer "


class TokenMiddleware:
    """Makes `request.user` the owner of the token in the Authorization header."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer 401 to a token that is wrong; a request without one goes on as it came."""
        header = request.headers.get("Authorization", "")
        request.access_token = None  # type: ignore[attr-defined]  # ours to add.
        if request.path.startswith(_TOKEN_PATHS) and header.lower().startswith(_SCHEME):
            token = token_authenticate(header[len(_SCHEME) :].strip())
            if token is None:
                return problem_response(
                    Unauthenticated("The token is not valid, was revoked, or has expired.")
                )
            request.user = token.user
            request.access_token = token  # type: ignore[attr-defined]  # ours to add.
            # No browser sends this header by itself: nothing to forge.
            request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # noqa: SLF001 - Django's own flag.
        if request.user.is_authenticated:
            logs.user.set(str(request.user.pk))
        return self.get_response(request)


class TenantMiddleware:
    """Enters the organization that the path names, if the caller belongs to it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer strangers as if there were nothing; run members in their schema and role."""
        request.access = None  # type: ignore[attr-defined]  # ours to add.
        found = _TENANT_PATH.match(request.path)
        if found is None:
            with public_context():
                return self.get_response(request)
        user = request.user
        if isinstance(user, User) and not user.is_active:
            logout(request)
            user = request.user
        if not isinstance(user, User) or not user.is_authenticated:
            if is_api(request):
                return problem_response(
                    Unauthenticated("Send a token in the Authorization header, or sign in.")
                )
            return redirect_to_login(request.get_full_path())
        membership = membership_get(user_id=user.pk, slug=found["slug"])
        token: AccessToken | None = request.access_token  # type: ignore[attr-defined]  # ours.
        if membership is None or not _token_reaches(token, membership):
            return error_response(request, NotFound())
        if token is None and (answer := _factor_missing(request, user, membership)) is not None:
            return answer
        logs.organization.set(membership.organization.slug)
        with tenant_context(membership.organization.schema_name):
            request.access = access_of(user, membership, token)  # type: ignore[attr-defined]  # ours to add.
            return self.get_response(request)


def _factor_missing(
    request: HttpRequest, user: User, membership: Membership
) -> HttpResponse | None:
    """Lead to showing the factor that the organization asks for, or to setting one up."""
    policy = policy_of(membership.organization.security)
    refusal = entry_refusal(request.session, user, policy)
    if refusal is None:
        return None
    if is_api(request) or "application/json" in request.headers.get("Accept", ""):
        return problem_response(refusal)
    messages.info(request, refusal.detail)
    if isinstance(refusal, MfaEnrolmentRequired):
        return redirect("account-security")
    back = request.get_full_path() if request.method == "GET" else "/organizations/"
    return redirect(f"{reverse('account-confirm')}?{urlencode({'next': back})}")


def _token_reaches(token: AccessToken | None, membership: Membership) -> bool:
    """Tell whether a token that was made for one organization is used in it."""
    return token is None or token.organization_id in {None, membership.organization_id}
