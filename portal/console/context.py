"""What every page's shell needs."""

from django.conf import settings
from django.http import HttpRequest

from portal.accounts.models import User
from portal.organizations.models import Membership
from portal.organizations.selectors import memberships_of


def shell(request: HttpRequest) -> dict[str, object]:
    """Give templates the organizations of the user (read only if the page shows them)."""
    user = getattr(request, "user", None)

    def memberships() -> list[Membership]:
        is_user = isinstance(user, User) and user.is_authenticated
        return memberships_of(user.pk) if isinstance(user, User) and is_user else []

    return {
        "access": getattr(request, "access", None),
        "shell_memberships": memberships,
        "has_mailbox": settings.MAILBOX_ENABLED,
        "site_name": settings.SITE_NAME,
    }
