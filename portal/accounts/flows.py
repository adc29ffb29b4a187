"""The journeys of signing up and of a forgotten password: links, mails, and what they open."""

from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.urls import reverse

from portal.accounts.models import User
from portal.accounts.services import (
    email_proof,
    signup_proof,
    user_change_email,
    user_confirm,
    user_register,
)
from portal.core.tenancy import public_context
from portal.notifications.services import mail_send

_CONFIRM_SALT = "accounts.confirm"
_EMAIL_SALT = "accounts.email"


def signup_start(*, email: str, password: str, name: str, next_path: str = "") -> None:
    """Register and send the link; a known address gets a mail that says so instead."""
    user = user_register(email=email, password=password, name=name)
    if user is not None:
        confirm_mail_send(user, next_path)
    else:
        _tell_known(email)


def confirm_mail_send(user: User, next_path: str = "") -> None:
    """Send the link that proves the address; it leads on to where the person was going."""
    token = signing.dumps([str(user.pk), signup_proof(user)], salt=_CONFIRM_SALT)
    link = settings.PORTAL_URL + reverse("confirm", args=[token])
    if next_path:
        link += f"?{urlencode({'next': next_path})}"
    mail_send(to=user.email, template="confirm_email", user=user, link=link)


def signup_confirm(token: str) -> User | None:
    """Return the user whose link it is, confirmed; None if it is wrong or too old."""
    try:
        key, proof = signing.loads(
            token, salt=_CONFIRM_SALT, max_age=settings.EMAIL_CONFIRM_TIMEOUT
        )
        return user_confirm(user_id=UUID(key), proof=proof)
    except (signing.BadSignature, ValueError, TypeError):
        return None


def email_change_start(*, user: User, email: str) -> None:
    """Send a link to the new address; the answer does not tell whether somebody has it."""
    with public_context():
        is_known = User.objects.filter(email=email).exists()
    if is_known:
        _tell_known(email)
        return
    token = signing.dumps([str(user.pk), user.email, email, email_proof(user)], salt=_EMAIL_SALT)
    link = settings.PORTAL_URL + reverse("account-email-confirm", args=[token])
    mail_send(to=email, template="change_email", user=user, email=email, link=link)


def email_change_confirm(token: str) -> User | None:
    """Change the address by its link, and tell the old one; None if the link is of no use."""
    try:
        key, old, email, proof = signing.loads(
            token, salt=_EMAIL_SALT, max_age=settings.EMAIL_CONFIRM_TIMEOUT
        )
        user = user_change_email(user_id=UUID(key), old=old, email=email, proof=proof)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    if user is not None:
        mail_send(to=old, template="email_changed", user=user, old=old)
    return user


def _tell_known(email: str) -> None:
    """Tell by mail, and by mail alone, that the address has an account."""
    with public_context():
        known = User.objects.filter(
            email=email, is_active=True, email_confirmed_at__isnull=False
        ).first()
    if known is not None:
        mail_send(to=known.email, template="already_registered", user=known)


def reset_start(email: str) -> None:
    """Send a link for a new password, if anyone has the address."""
    with public_context():
        user = User.objects.filter(email=email, is_active=True).first()
    if user is None:
        return
    if user.email_confirmed_at is None:
        confirm_mail_send(user)
        return
    path = reverse("password-set", args=[user.pk.hex, default_token_generator.make_token(user)])
    mail_send(to=user.email, template="reset", user=user, link=settings.PORTAL_URL + path)


def reset_user(uid: str, token: str) -> User | None:
    """Return whose password the link may set; None if it was used or is too old."""
    try:
        key = UUID(uid)
    except ValueError:
        return None
    with public_context():
        user = User.objects.filter(pk=key, is_active=True).first()
    if user is None or not default_token_generator.check_token(user, token):
        return None
    return user
