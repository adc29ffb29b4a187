"""Passkeys and security keys (WebAuthn): challenges, and what browsers answer to them.

A challenge is kept in the session, for one purpose, for five minutes, and is worth one answer. The
name that keys are bound to is that of `PORTAL_URL`: on any other a browser finds none.
"""

import ipaddress
import json
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from portal.accounts.models import User
from portal.core import clock
from portal.core.errors import Invalid
from portal.core.tenancy import public_context
from portal.identity.constants import CHALLENGE_FOR, PASSKEY_COUNT_MAX
from portal.identity.errors import FactorWrong, TooManyFactors
from portal.identity.models import Passkey
from portal.identity.notices import factor_tell
from portal.identity.selectors import recovery_left
from portal.identity.services import codes_replace, factor_name
from portal.identity.types import FACTOR_WORDS, FactorKind

type Credential = dict[str, Any]

_CHALLENGE_KEY = "passkey_challenge"
_WRONG = "This passkey was not accepted."


class Purpose(StrEnum):
    """What a challenge is for; an answer to one is none to another."""

    ADD = "add"
    LOGIN = "login"
    FACTOR = "factor"
    CONFIRM = "confirm"


def relying_party() -> str:
    """Return the name that passkeys are bound to."""
    return urlsplit(settings.PORTAL_URL).hostname or ""


def is_possible(request: HttpRequest) -> bool:
    """Tell whether a browser finds passkeys on the page it is on: by name, and by that name."""
    name = relying_party()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return urlsplit(f"//{request.get_host()}").hostname == name
    return False


def add_begin(request: HttpRequest, user: User) -> str:
    """Return, as JSON, what a browser needs to make a key.

    Raises:
        TooManyFactors: the person has as many as they may.
    """
    with public_context():
        known = list(Passkey.objects.filter(user=user))
    if len(known) >= PASSKEY_COUNT_MAX:
        raise TooManyFactors(f"One person can have {PASSKEY_COUNT_MAX} passkeys; remove one.")
    options = generate_registration_options(
        rp_id=relying_party(),
        rp_name=settings.SITE_NAME,
        user_id=user.pk.bytes,
        user_name=user.email,
        user_display_name=user.get_full_name(),
        exclude_credentials=_descriptors(known),
        # Keys that remember no names and ask for no finger do as a second factor.
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
    )
    _challenge_keep(request, options.challenge, Purpose.ADD)
    return options_to_json(options)


def add_finish(request: HttpRequest, user: User, credential: Credential, name: str) -> list[str]:
    """Keep the public half of a new key; return recovery codes if there are none.

    Raises:
        FactorWrong: the answer is to no challenge of this session, or of another site.
    """
    challenge = _challenge_take(request, Purpose.ADD)
    try:
        made = verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=relying_party(),
            expected_origin=_origin(),
        )
    except (WebAuthnException, ValueError, KeyError, TypeError) as error:
        raise FactorWrong(_WRONG) from error
    with public_context(), transaction.atomic():
        User.objects.select_for_update().get(pk=user.pk)
        if Passkey.objects.filter(user=user).count() >= PASSKEY_COUNT_MAX:
            raise TooManyFactors(f"One person can have {PASSKEY_COUNT_MAX} passkeys.")
        kept = factor_name(name, FactorKind.PASSKEY)
        try:
            with transaction.atomic():
                Passkey.objects.create(
                    user=user,
                    name=kept,
                    credential_id=made.credential_id,
                    public_key=made.credential_public_key,
                    sign_count=made.sign_count,
                    created_at=clock.now(),
                )
        except IntegrityError as error:
            raise FactorWrong("This passkey is known already.") from error
        codes = [] if recovery_left(user) else codes_replace(user)
        factor_tell(user, "member.factor_added", FACTOR_WORDS[FactorKind.PASSKEY], kept)
    return codes


def ask_begin(request: HttpRequest, purpose: Purpose, user: User | None) -> str:
    """Return, as JSON, what a browser needs to sign; without a user it offers what it has."""
    known: list[Passkey] = []
    if user is not None:
        with public_context():
            known = list(Passkey.objects.filter(user=user))
    options = generate_authentication_options(
        rp_id=relying_party(),
        allow_credentials=_descriptors(known),
        user_verification=_verification(purpose),
    )
    _challenge_keep(request, options.challenge, purpose)
    return options_to_json(options)


def ask_finish(
    request: HttpRequest, purpose: Purpose, user: User | None, credential: Credential
) -> User:
    """Return whose key signed; alone it takes the place of a password only with finger or PIN.

    Raises:
        FactorWrong: no known key signed, or not for this.
    """
    challenge = _challenge_take(request, purpose)
    with public_context(), transaction.atomic():
        passkey = _known(credential, user)
        try:
            signed = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=relying_party(),
                expected_origin=_origin(),
                credential_public_key=bytes(passkey.public_key),
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=purpose is Purpose.LOGIN,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            raise FactorWrong(_WRONG) from error
        passkey.sign_count, passkey.last_used_at = signed.new_sign_count, clock.now()
        passkey.save(update_fields=["sign_count", "last_used_at"])
    return passkey.user


def credential_of(body: bytes) -> Credential:
    """Return what a browser sent.

    Raises:
        Invalid: it is no JSON object.
    """
    try:
        found = json.loads(body)
    except ValueError as error:
        raise Invalid("Send what the browser made, as JSON.") from error
    if not isinstance(found, dict):
        raise Invalid("Send what the browser made, as JSON.")
    return found


def _known(credential: Credential, user: User | None) -> Passkey:
    """Return the key that signed, its row locked."""
    try:
        key = base64url_to_bytes(str(credential.get("rawId", "")))
    except ValueError as error:
        raise FactorWrong(_WRONG) from error
    rows = Passkey.objects.select_for_update(of=("self",)).select_related("user")
    found = rows.filter(credential_id=key).first()
    if found is None or user not in {None, found.user}:
        raise FactorWrong(_WRONG)
    if not found.user.is_active or found.user.email_confirmed_at is None:
        raise FactorWrong(_WRONG)
    return found


def _verification(purpose: Purpose) -> UserVerificationRequirement:
    if purpose is Purpose.LOGIN:
        return UserVerificationRequirement.REQUIRED
    return UserVerificationRequirement.PREFERRED


def _descriptors(known: list[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=bytes(row.credential_id)) for row in known]


def _origin() -> str:
    parts = urlsplit(settings.PORTAL_URL)
    return f"{parts.scheme}://{parts.netloc}"


def _challenge_keep(request: HttpRequest, challenge: bytes, purpose: Purpose) -> None:
    request.session[_CHALLENGE_KEY] = {
        "challenge": bytes_to_base64url(challenge),
        "purpose": str(purpose),
        "at": clock.now().timestamp(),
    }


def _challenge_take(request: HttpRequest, purpose: Purpose) -> bytes:
    """Return the challenge and forget it, whatever comes of the answer."""
    kept = request.session.pop(_CHALLENGE_KEY, None)
    if not isinstance(kept, dict) or kept["purpose"] != purpose:
        raise FactorWrong("There was no question to this answer, or it was answered. Try again.")
    if not 0 <= clock.now().timestamp() - float(kept["at"]) < CHALLENGE_FOR.total_seconds():
        raise FactorWrong("That took too long. Try again.")
    return base64url_to_bytes(str(kept["challenge"]))
