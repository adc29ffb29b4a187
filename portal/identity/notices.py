"""Telling of changes: to the person by mail, and to the trail of each of their organizations."""

from portal.accounts.models import User
from portal.audit.services import audit_record
from portal.core.tenancy import tenant_context
from portal.identity.constants import RECOVERY_LEFT_LOW
from portal.notifications.services import mail_send
from portal.organizations.selectors import memberships_of


def factor_tell(user: User, action: str, kind: str, name: str, *, left: int | None = None) -> None:
    """Tell the person, and the trail of each of their organizations."""
    for membership in memberships_of(user.pk):
        with tenant_context(membership.organization.schema_name):
            audit_record(
                access_or_actor=user,
                action=action,
                target_type="member",
                target_id=user.pk,
                target_label=user.email,
                after={"factor": kind, "name": name},
            )
    is_low = left is not None and left <= RECOVERY_LEFT_LOW
    what = action.removeprefix("member.")
    mail_send(
        to=user.email,
        template="factor_changed",
        user=user,
        what=what,
        kind=kind.lower(),
        name=name,
        left=left,
        is_low=is_low,
    )
