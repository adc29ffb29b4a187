"""Setting up second factors, asking for them, and taking them away.

Whatever changes here is told to the person by mail, and to the trail of each of their
organizations: it decides how well those are guarded.
"""

from uuid import UUID

from django.db import transaction

from portal.accounts.models import User
from portal.core import clock
from portal.core.crypto import seal, unseal
from portal.core.errors import NotFound, RateLimited
from portal.core.tenancy import public_context
from portal.core.throttling import limit
from portal.identity import recovery
from portal.identity.constants import (
    NAME_LENGTH_MAX,
    TOTP_COUNT_MAX,
    TRIES,
    TRIES_A_DAY,
    TRIES_WINDOW_S,
)
from portal.identity.errors import FactorLocked, FactorWrong, LastFactor, TooManyFactors
from portal.identity.models import Passkey, RecoveryCode, TotpDevice
from portal.identity.notices import factor_tell
from portal.identity.selectors import factors_of, has_factor, recovery_left, totp_begun
from portal.identity.totp import code_match, key_new
from portal.identity.types import FACTOR_WORDS, Factor, FactorKind
from portal.organizations.security import policy_of
from portal.organizations.selectors import memberships_of

DAY_S = 24 * 3600


def totp_begin(user: User) -> TotpDevice:
    """Return the app that is being set up, with the key it was begun with.

    Raises:
        TooManyFactors: the person has as many as they may.
    """
    with public_context(), transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        begun = totp_begun(user)
        if begun is not None:
            return begun
        if TotpDevice.objects.filter(user=user).count() >= TOTP_COUNT_MAX:
            raise TooManyFactors(f"One person can have {TOTP_COUNT_MAX} apps; remove one.")
        device = TotpDevice(user=user, name="", created_at=clock.now())
        device.sealed_key = seal(key_new(), context=_totp_context(device.pk))
        device.save(force_insert=True)
    return device


def totp_key(device: TotpDevice) -> bytes:
    """Return the key of an app, which its owner sees while they set it up."""
    return unseal(bytes(device.sealed_key), context=_totp_context(device.pk))


def totp_confirm(user: User, *, code: str, name: str) -> list[str]:
    """Take the app into use once it shows a right code; return recovery codes if there are none.

    Raises:
        NotFound: no app is being set up.
        FactorWrong: the code does not fit.
        FactorLocked: too many were tried.
    """
    _tries_limit(user)
    with public_context(), transaction.atomic():
        device = TotpDevice.objects.select_for_update().filter(user=user, confirmed_at=None).first()
        if device is None:
            raise NotFound
        if not _totp_take(device, code):
            raise FactorWrong("This code does not fit. Wait for the next one, and type that.")
        device.name = factor_name(name, FactorKind.TOTP)
        device.confirmed_at = clock.now()
        device.save()
        codes = [] if recovery_left(user) else codes_replace(user)
        factor_tell(user, "member.factor_added", FACTOR_WORDS[FactorKind.TOTP], device.name)
    return codes


def factor_check(user: User, code: str) -> str:
    """Accept a code of an app or of the paper, once; return which of the two it was.

    Raises:
        FactorWrong: it is no code of theirs, or was used before.
        FactorLocked: too many were tried.
    """
    _tries_limit(user)
    if recovery.code_is_well_formed(code):
        if _recovery_take(user, code):
            return "recovery"
    else:
        plain = code.replace(" ", "")
        with public_context(), transaction.atomic():
            devices = TotpDevice.objects.select_for_update().filter(user=user)
            if any(_totp_take(device, plain) for device in devices.exclude(confirmed_at=None)):
                return str(FactorKind.TOTP)
    raise FactorWrong("This code is not right, or was used before. Wait for the next one.")


def factor_rename(user: User, *, factor_id: UUID, name: str) -> None:
    """Give a factor another name."""
    with public_context():
        apps = TotpDevice.objects.filter(user=user, pk=factor_id).exclude(confirmed_at=None)
        keys = Passkey.objects.filter(user=user, pk=factor_id)
        if not (
            apps.update(name=factor_name(name, FactorKind.TOTP))
            or keys.update(name=factor_name(name, FactorKind.PASSKEY))
        ):
            raise NotFound


def factor_remove(user: User, *, factor_id: UUID) -> None:
    """Take a factor away; with the last one the recovery codes go.

    Raises:
        NotFound: it is not theirs.
        LastFactor: they must have one, and this is the last.
    """
    with public_context(), transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        factors = factors_of(user)
        found = next((factor for factor in factors if factor.id == factor_id), None)
        if found is None:
            raise NotFound
        _check_may_go(user, [factor for factor in factors if factor is not found])
        TotpDevice.objects.filter(user=user, pk=factor_id).delete()
        Passkey.objects.filter(user=user, pk=factor_id).delete()
        if len(factors) == 1:
            RecoveryCode.objects.filter(user=user).delete()
        factor_tell(user, "member.factor_removed", found.words, found.name)


def _check_may_go(user: User, left: list[Factor]) -> None:
    if not left and user.is_staff:
        raise LastFactor("Those who operate this installation need one: add another first.")
    for membership in memberships_of(user.pk):
        policy = policy_of(membership.organization.security)
        if policy.mfa_required and not any(factor.kind in policy.factors for factor in left):
            name = membership.organization.name
            raise LastFactor(f"{name} asks for one: add another first, or leave {name}.")


def recovery_renew(user: User) -> list[str]:
    """Return new recovery codes; those before stop working.

    Raises:
        NotFound: there is no second factor that they could stand in for.
    """
    with public_context(), transaction.atomic():
        if not has_factor(user):
            raise NotFound
        codes = codes_replace(user)
        factor_tell(user, "member.recovery_codes_made", "Recovery codes", "")
    return codes


def _totp_context(device_id: UUID) -> bytes:
    return b"totp:" + device_id.bytes


def factor_name(name: str, kind: FactorKind) -> str:
    """Return the name that is kept: the kind, where none was given."""
    return " ".join(name.split())[:NAME_LENGTH_MAX] or FACTOR_WORDS[kind]


def _tries_limit(user: User) -> None:
    """Count a try before it is looked at, so that many at once are no way round it."""
    try:
        limit(f"factor:{user.pk}", most=TRIES, window_s=TRIES_WINDOW_S)
        limit(f"factor-day:{user.pk}", most=TRIES_A_DAY, window_s=DAY_S)
    except RateLimited as error:
        raise FactorLocked(error.detail, **error.fields) from error


def _totp_take(device: TotpDevice, code: str) -> bool:
    """Accept a code of this app if it is newer than the last; the row is locked."""
    match = code_match(
        totp_key(device),
        code,
        moment=clock.now(),
        last_step=device.last_step,
        drift=device.drift,
    )
    if match is None:
        return False
    device.last_step, device.drift, device.last_used_at = match.step, match.drift, clock.now()
    device.save(update_fields=["last_step", "drift", "last_used_at"])
    return True


def _recovery_take(user: User, code: str) -> bool:
    with public_context(), transaction.atomic():
        row = (
            RecoveryCode.objects.select_for_update()
            .filter(user=user, hash=recovery.code_hash(code), used_at=None)
            .first()
        )
        if row is None:
            return False
        row.used_at = clock.now()
        row.save(update_fields=["used_at"])
        left = recovery_left(user)
        factor_tell(user, "member.recovery_code_used", "Recovery code", f"{left} left", left=left)
    return True


def codes_replace(user: User) -> list[str]:
    """Make new recovery codes in the transaction that is open; those before stop working."""
    RecoveryCode.objects.filter(user=user).delete()
    codes = recovery.codes_new()
    RecoveryCode.objects.bulk_create(
        RecoveryCode(user=user, hash=recovery.code_hash(code), created_at=clock.now())
        for code in codes
    )
    return codes
