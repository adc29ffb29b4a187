"""Pages of signing up and of forgotten passwords."""

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from portal.accounts import flows
from portal.accounts.forms import EmailForm, NewPasswordForm, SignupForm
from portal.accounts.services import password_change
from portal.core.errors import RateLimited
from portal.core.forms import form_status
from portal.core.http import error_response
from portal.core.throttling import limit, limit_by_address

HOUR = 3600
SIGNUPS_PER_HOUR = 30
RESETS_PER_HOUR = 20
MAILS_PER_HOUR = 5
LOCKED_S = 15 * 60
NEXT_LENGTH_MAX = 500


def next_path(request: HttpRequest) -> str:
    """Return where the caller wanted to go, if it is a page of ours."""
    return wished_path(request) or "/organizations/"


def wished_path(request: HttpRequest) -> str:
    """Return the page of ours that the caller was on the way to, or nothing."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    # A word without a slash is the name of a page for Django, or of none.
    is_path = wanted.startswith("/") and len(wanted) <= NEXT_LENGTH_MAX
    is_ours = is_path and url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if is_ours else ""


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def signup(request: HttpRequest) -> HttpResponse:
    """Make an account; the answer is the same whether or not the address is known."""
    if request.user.is_authenticated:
        return redirect(next_path(request))
    form = SignupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        limit_by_address(request, "signup", most=SIGNUPS_PER_HOUR, window_s=HOUR)
        email = form.cleaned_data["email"]
        limit(f"mail:{email}", most=MAILS_PER_HOUR, window_s=HOUR)
        flows.signup_start(
            email=email,
            password=form.cleaned_data["password"],
            name=form.cleaned_data["name"],
            next_path=wished_path(request),
        )
        return render(request, "accounts/check_mail.html", {"email": email, "is_signup": True})
    context = {"form": form, "next": wished_path(request)}
    return render(request, "accounts/signup.html", context, status=form_status(form))


@never_cache
@require_http_methods(["GET", "POST"])
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Confirm by a button: mail scanners follow links, but press nothing."""
    if request.method == "GET":
        return render(request, "accounts/confirm.html")
    user = flows.signup_confirm(token)
    if user is None:
        return render(request, "accounts/link_invalid.html", status=400)
    messages.success(request, "Your address is confirmed. Sign in to go on.")
    return redirect_to_login(wished) if (wished := wished_path(request)) else redirect("login")


def locked_out(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
    """Answer someone who failed too often; also called by axes."""
    del args, kwargs
    error = RateLimited(
        "Too many failed attempts for this address. Try again in 15 minutes, or set a new "
        "password.",
        code="locked_out",
        retry_after=LOCKED_S,
    )
    return error_response(request, error)


@never_cache
@require_http_methods(["GET", "POST"])
def password_reset(request: HttpRequest) -> HttpResponse:
    """Send a link for a new password; the answer does not tell whether the address is known."""
    form = EmailForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        limit_by_address(request, "reset", most=RESETS_PER_HOUR, window_s=HOUR)
        email = form.cleaned_data["email"]
        limit(f"mail:{email}", most=MAILS_PER_HOUR, window_s=HOUR)
        flows.reset_start(email)
        return render(request, "accounts/check_mail.html", {"email": email})
    return render(request, "accounts/password_reset.html", {"form": form}, status=form_status(form))


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def password_set(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """Set a new password by the link of the mail; every session ends."""
    user = flows.reset_user(uid, token)
    if user is None:
        return render(request, "accounts/link_invalid.html", status=400)
    form = NewPasswordForm(user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        password_change(user=user, password=form.cleaned_data["password"], keep_session=None)
        messages.success(request, "The new password is set. Sign in with it.")
        return redirect("login")
    return render(request, "accounts/password_set.html", {"form": form}, status=form_status(form))
