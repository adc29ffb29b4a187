"""Pages of one's own second factors, and of having to set one up before one is let in."""

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from portal.accounts.models import User
from portal.core.errors import NotFound, PortalError
from portal.core.forms import form_status
from portal.core.http import attempt
from portal.identity import passkeys
from portal.identity.constants import RECOVERY_LEFT_LOW
from portal.identity.forms import NameForm, TotpForm
from portal.identity.selectors import factors_of, recovery_left
from portal.identity.services import (
    factor_remove,
    factor_rename,
    recovery_renew,
    totp_begin,
    totp_confirm,
    totp_key,
)
from portal.identity.signin import HOME, Pending, pending_of, session_open
from portal.identity.stepup import factor_note, require_recent
from portal.identity.totp import key_picture, key_text

ACTION = "account.factors"


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


@never_cache
@login_required
@require_GET
def security_page(request: HttpRequest) -> HttpResponse:
    """What completes a sign-in beside the password."""
    user = _user(request)
    left = recovery_left(user)
    context = {
        "factors": factors_of(user),
        "left": left,
        "has_passkeys": passkeys.is_possible(request),
        "named_url": settings.PORTAL_URL + "/account/security/",
        "is_low": left <= RECOVERY_LEFT_LOW,
        "tab": "security",
    }
    return render(request, "identity/security.html", context)


@never_cache
@login_required
@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
def totp_page(request: HttpRequest) -> HttpResponse:
    """Set up an app."""
    require_recent(request, action=ACTION)
    return _totp_setup(request, _user(request), None)


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
def enrol_page(request: HttpRequest) -> HttpResponse:
    """Set up an app before being let in, by who must have one and has none."""
    pending = pending_of(request)
    if pending is None or not pending.must_enrol:
        return redirect("login")
    return _totp_setup(request, pending.user, pending)


def _totp_setup(request: HttpRequest, user: User, pending: Pending | None) -> HttpResponse:
    form = TotpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            codes = totp_confirm(user, **form.cleaned_data)
        except NotFound:
            return redirect(request.path)
        except PortalError as error:
            form.add_error("code", error.detail)
        else:
            onward = "/account/security/"
            if pending is None:
                factor_note(request, "totp")
            else:
                session_open(request, user, factors=[pending.method, "totp"])
                onward = pending.next_path or HOME
            if codes:
                return _codes_show(request, codes, onward)
            messages.success(request, "The app is set up.")
            return redirect(onward)
    try:
        key = totp_key(totp_begin(user))
    except PortalError as error:
        messages.error(request, error.detail)
        return redirect("account-security")
    context = {
        "form": form,
        "picture": key_picture(key, email=user.email),
        "key": key_text(key),
        "is_entry": pending is not None,
        "person": user,
        "tab": "security",
    }
    template = "identity/enrol.html" if pending is not None else "identity/totp.html"
    return render(request, template, context, status=form_status(form))


@never_cache
@login_required
@require_POST
def recovery_page(request: HttpRequest) -> HttpResponse:
    """Make new recovery codes; this one answer shows them."""
    require_recent(request, action=ACTION)
    return _codes_show(request, recovery_renew(_user(request)), "/account/security/")


def _codes_show(request: HttpRequest, codes: list[str], onward: str) -> HttpResponse:
    context = {"codes": codes, "text": "\n".join(codes), "onward": onward}
    return render(request, "identity/codes.html", context)


@login_required
@require_POST
def factor_rename_page(request: HttpRequest, factor_id: UUID) -> HttpResponse:
    """Give a factor another name."""
    form = NameForm(request.POST)
    if form.is_valid():
        factor_rename(_user(request), factor_id=factor_id, name=form.cleaned_data["name"])
        messages.success(request, "Renamed.")
    else:
        messages.error(request, "Give a name of 1 to 60 characters.")
    return redirect("account-security")


@login_required
@require_POST
def factor_remove_page(request: HttpRequest, factor_id: UUID) -> HttpResponse:
    """Take a factor away."""
    require_recent(request, action=ACTION)
    attempt(request, lambda: factor_remove(_user(request), factor_id=factor_id), "Removed.")
    return redirect("account-security")
