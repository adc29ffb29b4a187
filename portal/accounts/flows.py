"""The journeys of signing up and of a forgotten password: links, mails, and what they open."""

from uuid import UUID

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.urls import reverse

from portal.accounts.models import User
from portal.accounts.services import user_confirm, user_register
from portal.core.tenancy import public_context
from portal.notifications.services import mail_send

_CONFIRM_SALT = "accounts.confirm"


def signup_start(*, email: str, password: str, name: str) -> None:
    """Register and send the link; a known address gets a mail that says so instead."""
    user = user_register(email=email, password=password, name=name)
    if user is not None:
        confirm_mail_send(user)
        return
    with public_context():
        known = User.objects.filter(email=email, is_active=True).first()
    if known is None:
        return
    if known.email_confirmed_at is None:
        confirm_mail_send(known)
    else:
        mail_send(to=known.email, template="already_registered", user=known)


def confirm_mail_send(user: User) -> None:
    """Send the link that proves the address."""
    token = signing.dumps(str(user.pk), salt=_CONFIRM_SALT)
    link = settings.PORTAL_URL + reverse("confirm", args=[token])
    mail_send(to=user.email, template="confirm_email", user=user, link=link)


def signup_confirm(token: str) -> User | None:
    """Return the user whose link it is, confirmed; None if it is wrong or too old."""
    try:
        key = signing.loads(token, salt=_CONFIRM_SALT, max_age=settings.EMAIL_CONFIRM_TIMEOUT)
        return user_confirm(user_id=UUID(key))
    except (signing.BadSignature, ValueError, TypeError):
        return None


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
