"""Pages of one's own account."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from portal.accounts.forms import ChangePasswordForm, ProfileForm, TokenForm
from portal.accounts.models import User
from portal.accounts.services import (
    password_change,
    session_end,
    session_list,
    token_create,
    token_list,
    token_revoke,
    user_rename,
)
from portal.accounts.tokens import token_hash
from portal.core.errors import NotFound
from portal.core.throttling import limit

PASSWORD_TRIES_PER_HOUR = 20


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Change the display name."""
    user = _user(request)
    form = ProfileForm(request.POST or None, initial={"name": user.name})
    if request.method == "POST" and form.is_valid():
        user_rename(user=user, name=form.cleaned_data["name"])
        messages.success(request, "Saved.")
        return redirect("account")
    return render(request, "accounts/profile.html", {"form": form, "tab": "profile"})


@never_cache
@login_required
@sensitive_post_parameters("current", "password")
@require_http_methods(["GET", "POST"])
def password(request: HttpRequest) -> HttpResponse:
    """Change the password; other browsers are signed out."""
    user = _user(request)
    if request.method == "POST":
        limit(f"password:{user.pk}", most=PASSWORD_TRIES_PER_HOUR, window_s=3600)
    form = ChangePasswordForm(user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        password_change(
            user=user,
            password=form.cleaned_data["password"],
            keep_session=request.session.session_key,
        )
        update_session_auth_hash(request, user)
        messages.success(request, "The password is changed. Other browsers were signed out.")
        return redirect("account-password")
    return render(request, "accounts/password.html", {"form": form, "tab": "password"})


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def sessions(request: HttpRequest) -> HttpResponse:
    """List the browsers that are signed in, and end one."""
    user = _user(request)
    if request.method == "POST":
        if not session_end(user=user, digest=request.POST.get("session", "")):
            raise NotFound
        messages.success(request, "That browser is signed out.")
        return redirect("account-sessions")
    rows = [
        {
            "session": session,
            "digest": token_hash(session.session_key)[:32],
            "is_this": session.session_key == request.session.session_key,
        }
        for session in session_list(user)
    ]
    return render(request, "accounts/sessions.html", {"rows": rows, "tab": "sessions"})


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """List personal tokens, and make one; its secret is in this one answer only."""
    user = _user(request)
    form = TokenForm(request.POST or None)
    secret = None
    if request.method == "POST" and form.is_valid():
        _, secret = token_create(
            user=user, name=form.cleaned_data["name"], expires_at=form.expires_at()
        )
        form = TokenForm()
    context = {"form": form, "secret": secret, "tokens": token_list(user=user), "tab": "tokens"}
    return render(request, "accounts/tokens.html", context)


@login_required
@require_POST
def token_revoke_page(request: HttpRequest, token_id: UUID) -> HttpResponse:
    """Make a token useless."""
    if token_revoke(user=_user(request), token_id=token_id) is None:
        raise NotFound
    messages.success(request, "The token is revoked.")
    return redirect("account-tokens")
