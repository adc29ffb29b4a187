"""The page on which an organization says what it asks of those who enter."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from portal.access.guards import require_everywhere
from portal.access.security import policy_set
from portal.core.errors import PortalError
from portal.identity.entry import members_without
from portal.identity.stepup import require_recent
from portal.identity.types import FACTOR_WORDS, FactorKind
from portal.organizations.security import FACTORS, SecurityPolicy, policy_of

SHOWN_MAX = 50


@never_cache
@require_http_methods(["GET", "POST"])
def security_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the policy and who is without a factor; posting shows or sets another."""
    access = require_everywhere(request, "organization:write")
    present = policy_of(access.organization.security)
    wanted, status = present, 200
    if request.method == "POST":
        wanted = SecurityPolicy(
            mfa_required="mfa_required" in request.POST,
            factors=tuple(kind for kind in FACTORS if kind in request.POST.getlist("factors")),
        )
        if "preview" not in request.POST:
            require_recent(request, action="organization.policy")
            try:
                policy_set(access, request.session, wanted)
            except PortalError as error:
                messages.error(request, error.detail)
                status = error.status
            else:
                messages.success(request, "Saved.")
                return redirect("access-security", slug=slug)
    without = members_without(access.organization, wanted)
    context = {
        "policy": wanted,
        "is_preview": wanted != present,
        "kinds": [
            (str(kind), FACTOR_WORDS[kind], str(kind) in wanted.factors) for kind in FactorKind
        ],
        "without": without[:SHOWN_MAX],
        "without_count": len(without),
    }
    return render(request, "access/security.html", context, status=status)
