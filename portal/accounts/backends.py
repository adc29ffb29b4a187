"""Sign-in by e-mail and password; an unconfirmed address does not sign in."""

from typing import override

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser

from portal.accounts.models import User


class EmailBackend(ModelBackend):
    """Django's backend, with the confirmation of the address added."""

    @override
    def user_can_authenticate(self, user: User | AnonymousUser | None) -> bool:
        is_confirmed = isinstance(user, User) and user.email_confirmed_at is not None
        return is_confirmed and super().user_can_authenticate(user)
