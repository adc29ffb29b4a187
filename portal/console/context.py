"""What every page's shell needs."""

from django.conf import settings
from django.http import HttpRequest

from portal.accounts.models import User
from portal.core.http import is_local
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
        "has_mailbox": may_see_mailbox(request),
        "site_name": settings.SITE_NAME,
    }


def may_see_mailbox(request: HttpRequest) -> bool:
    """Tell whether the kept mail may be shown: to operators, and to whoever sits at the machine.

    It holds links by which anybody's password can be set. A portal that is bound to more than the
    loopback interface shows it to nobody else.
    """
    if not settings.MAILBOX_ENABLED:
        return False
    user = getattr(request, "user", None)
    is_operator = isinstance(user, User) and user.is_active and user.is_staff
    return is_operator or is_local(request)
