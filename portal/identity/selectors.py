"""Reading second factors; all of it in the public schema."""

from portal.accounts.models import User
from portal.core.tenancy import public_context
from portal.identity.models import Passkey, RecoveryCode, TotpDevice
from portal.identity.types import Factor, FactorKind


def factors_of(user: User) -> list[Factor]:
    """Return a person's second factors, oldest first; recovery codes are none."""
    with public_context():
        devices = TotpDevice.objects.filter(user=user).exclude(confirmed_at=None)
        apps = [
            Factor(FactorKind.TOTP, row.pk, row.name, row.created_at, row.last_used_at)
            for row in devices
        ]
        keys = [
            Factor(FactorKind.PASSKEY, row.pk, row.name, row.created_at, row.last_used_at)
            for row in Passkey.objects.filter(user=user)
        ]
    return sorted(apps + keys, key=lambda factor: factor.id)


def has_factor(user: User) -> bool:
    """Tell whether a person has a second factor."""
    return bool(factors_of(user))


def recovery_left(user: User) -> int:
    """Return how many recovery codes still work."""
    with public_context():
        return RecoveryCode.objects.filter(user=user, used_at=None).count()


def totp_begun(user: User) -> TotpDevice | None:
    """Return the app that is being set up."""
    with public_context():
        return TotpDevice.objects.filter(user=user, confirmed_at=None).first()
