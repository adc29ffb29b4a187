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

from portal.accounts import flows
from portal.accounts.agents import agent_words
from portal.accounts.forms import ChangeEmailForm, ChangePasswordForm, ProfileForm, TokenForm
from portal.accounts.models import User
from portal.accounts.services import (
    password_change,
    session_end,
    session_list,
    sessions_end_others,
    token_create,
    token_list,
    token_revoke,
    user_rename,
)
from portal.accounts.tokens import token_hash
from portal.core.errors import NotFound
from portal.core.forms import form_status
from portal.core.throttling import limit
from portal.identity.constants import PASSWORD_TRIES_PER_HOUR
from portal.identity.entry import entry_refusal_anywhere
from portal.identity.selectors import has_factor
from portal.identity.signin import proof_words
from portal.identity.stepup import FACTORS_KEY, require_recent

MAILS_PER_HOUR = 5


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
    context = {"form": form, "tab": "profile"}
    return render(request, "accounts/profile.html", context, status=form_status(form))


@never_cache
@login_required
@sensitive_post_parameters("current")
@require_http_methods(["GET", "POST"])
def email(request: HttpRequest) -> HttpResponse:
    """Send a link to a new address; until it is followed the old one stays."""
    user = _user(request)
    if has_factor(user):
        # The password in the form is enough for who has nothing else.
        require_recent(request, action="account.email")
    if request.method == "POST":
        limit(f"password:{user.pk}", most=PASSWORD_TRIES_PER_HOUR, window_s=3600)
    form = ChangeEmailForm(user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        wanted = form.cleaned_data["email"]
        limit(f"mail:{wanted}", most=MAILS_PER_HOUR, window_s=3600)
        flows.email_change_start(user=user, email=wanted)
        messages.success(request, f"A message with a link was sent to {wanted}.")
        return redirect("account-email")
    context = {"form": form, "tab": "email"}
    return render(request, "accounts/email.html", context, status=form_status(form))


@never_cache
@require_http_methods(["GET", "POST"])
def email_confirm(request: HttpRequest, token: str) -> HttpResponse:
    """Change the address by a button: mail scanners follow links, but press nothing."""
    if request.method == "GET":
        return render(request, "accounts/confirm.html")
    changed = flows.email_change_confirm(token)
    if changed is None:
        return render(request, "accounts/link_invalid.html", status=400)
    messages.success(request, f"From now on you sign in as {changed.email}.")
    return redirect("account")


@never_cache
@login_required
@sensitive_post_parameters("current", "password")
@require_http_methods(["GET", "POST"])
def password(request: HttpRequest) -> HttpResponse:
    """Change the password; other browsers are signed out."""
    user = _user(request)
    if has_factor(user):
        # The password in the form is enough for who has nothing else.
        require_recent(request, action="account.password")
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
    context = {"form": form, "tab": "password"}
    return render(request, "accounts/password.html", context, status=form_status(form))


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def sessions(request: HttpRequest) -> HttpResponse:
    """List the browsers that are signed in, and end one, or all but this."""
    user = _user(request)
    if request.method == "POST" and "others" in request.POST:
        count = sessions_end_others(user=user, keep_session=request.session.session_key)
        messages.success(request, f"Signed out elsewhere: {count}.")
        return redirect("account-sessions")
    if request.method == "POST":
        if not session_end(user=user, digest=request.POST.get("session", "")):
            raise NotFound
        messages.success(request, "That browser is signed out.")
        return redirect("account-sessions")
    rows = [
        {
            "session": session,
            "agent": agent_words(session.agent),
            "proofs": proof_words(session.get_decoded().get(FACTORS_KEY)),
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
        require_recent(request, action="token.create")
        if (refusal := entry_refusal_anywhere(request.session, user)) is not None:
            messages.error(request, refusal.detail)
            return redirect("account-security")
        _, secret = token_create(
            user=user, name=form.cleaned_data["name"], expires_at=form.expires_at()
        )
        form = TokenForm()
    context = {"form": form, "secret": secret, "tokens": token_list(user=user), "tab": "tokens"}
    return render(request, "accounts/tokens.html", context, status=form_status(form))


@login_required
@require_POST
def token_revoke_page(request: HttpRequest, token_id: UUID) -> HttpResponse:
    """Make a token useless."""
    if token_revoke(user=_user(request), token_id=token_id) is None:
        raise NotFound
    messages.success(request, "The token is revoked.")
    return redirect("account-tokens")
