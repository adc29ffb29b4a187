"""Pages of signing in: the password, the second factor, and confirming both later."""

from django.contrib.auth import authenticate, logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from portal.accounts.forms import LoginForm
from portal.accounts.models import User
from portal.accounts.views import HOUR, locked_out, next_path, wished_path
from portal.core.errors import PortalError
from portal.core.forms import form_status
from portal.core.throttling import limit_by_address
from portal.identity import passkeys
from portal.identity.constants import SENSITIVE_ACTIONS
from portal.identity.forms import CodeForm, PasswordForm
from portal.identity.selectors import factors_of, has_factor
from portal.identity.services import factor_check
from portal.identity.signin import pending_of, sign_in_begin, sign_in_finish
from portal.identity.stepup import require_recent
from portal.identity.types import FactorKind

LOGINS_PER_HOUR = 200


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def login_page(request: HttpRequest) -> HttpResponse:
    """Ask for address and password; wrong ones and unconfirmed addresses look the same."""
    if request.user.is_authenticated:
        return redirect(next_path(request))
    form = LoginForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        limit_by_address(request, "login", most=LOGINS_PER_HOUR, window_s=HOUR)
        user = authenticate(
            request,
            username=form.cleaned_data["email"],
            password=form.cleaned_data["password"],
        )
        if isinstance(user, User):
            return sign_in_begin(request, user, method="password", next_path=wished_path(request))
        if getattr(request, "axes_locked_out", False):
            return locked_out(request)
        form.add_error(
            None,
            "These do not match, or the address is not confirmed yet: look into your mail, "
            "or set a new password to get another link.",
        )
    context = {
        "form": form,
        "next": wished_path(request),
        "has_passkeys": passkeys.is_possible(request),
    }
    return render(request, "identity/login.html", context, status=form_status(form))


@require_POST
def logout_page(request: HttpRequest) -> HttpResponse:
    """Sign out."""
    logout(request)
    return redirect("landing")


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
def factor_page(request: HttpRequest) -> HttpResponse:
    """Ask who has shown the password for the second factor."""
    pending = pending_of(request)
    if pending is None or pending.must_enrol:
        return redirect("login")
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            factor = factor_check(pending.user, form.cleaned_data["code"])
        except PortalError as error:
            form.add_error("code", error.detail)
        else:
            return sign_in_finish(request, pending, factor=factor)
    context = {
        "form": form,
        "person": pending.user,
        "has_passkeys": passkeys.is_possible(request) and _has_passkey(pending.user),
    }
    return render(request, "identity/factor.html", context, status=form_status(form))


@never_cache
@login_required
@sensitive_post_parameters("code", "password")
@require_http_methods(["GET", "POST"])
def confirm_page(request: HttpRequest) -> HttpResponse:
    """Ask again who it is, and go back to where that was needed."""
    user = request.user
    assert isinstance(user, User)
    is_by_code = has_factor(user)
    form = CodeForm(request.POST or None) if is_by_code else PasswordForm(request.POST or None)
    asked = request.POST.get("action") or request.GET.get("action") or ""
    action = asked if asked in SENSITIVE_ACTIONS else "account.factors"
    if request.method == "POST" and form.is_valid():
        field = "code" if is_by_code else "password"
        try:
            require_recent(request, action=action, proof=form.cleaned_data[field])
        except PortalError as error:
            form.add_error(field, error.detail)
        else:
            return redirect(wished_path(request) or "account")
    context = {
        "form": form,
        "next": wished_path(request),
        "action": asked if asked in SENSITIVE_ACTIONS else "",
        "what": SENSITIVE_ACTIONS.get(asked, ""),
        "has_passkeys": passkeys.is_possible(request) and _has_passkey(user),
    }
    return render(request, "identity/confirm.html", context, status=form_status(form))


def _has_passkey(user: User) -> bool:
    return any(factor.kind is FactorKind.PASSKEY for factor in factors_of(user))
