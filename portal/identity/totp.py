"""Codes of authenticator apps (RFC 6238): keys, the picture to scan, and whether a code fits."""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlencode

import segno
from django.conf import settings
from django_otp.oath import TOTP

from portal.identity.constants import TOTP_DIGITS, TOTP_KEY_SIZE, TOTP_STEP_S, TOTP_TOLERANCE


@dataclass(frozen=True, slots=True)
class Match:
    """The step that a code is of, and how far the app's clock is off."""

    step: int
    drift: int


def key_new() -> bytes:
    """Return a new key, as long as the hash function wants it."""
    return secrets.token_bytes(TOTP_KEY_SIZE)


def key_text(key: bytes) -> str:
    """Return the key as people type it into an app that cannot scan."""
    text = base64.b32encode(key).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def key_uri(key: bytes, *, email: str) -> str:
    """Return what the picture says to the app."""
    label = quote(f"{settings.SITE_NAME}:{email}", safe="")
    facts = {
        "secret": base64.b32encode(key).decode(),
        "issuer": settings.SITE_NAME,
        "digits": TOTP_DIGITS,
        "period": TOTP_STEP_S,
    }
    return f"otpauth://totp/{label}?{urlencode(facts, quote_via=quote)}"


def key_picture(key: bytes, *, email: str) -> str:
    """Return the QR code as an address of an SVG image, dark on white in every theme."""
    code = segno.make(key_uri(key, email=email), error="m", micro=False)
    return code.svg_data_uri(scale=5, border=4, dark="#000", light="#fff")


def code_at(key: bytes, moment: datetime) -> str:
    """Return the code that an app shows at a moment."""
    return str(_totp(key, moment, 0).token()).zfill(TOTP_DIGITS)


def code_match(
    key: bytes, code: str, *, moment: datetime, last_step: int, drift: int
) -> Match | None:
    """Return which step newer than the last one the code is of, or None if it is of none."""
    if not (code.isascii() and code.isdigit() and len(code) == TOTP_DIGITS):
        return None
    totp = _totp(key, moment, drift)
    if not totp.verify(int(code), tolerance=TOTP_TOLERANCE, min_t=last_step + 1):
        return None
    return Match(step=int(totp.t()), drift=int(totp.drift))


def _totp(key: bytes, moment: datetime, drift: int) -> TOTP:
    totp = TOTP(key, step=TOTP_STEP_S, digits=TOTP_DIGITS, drift=drift)
    totp.time = moment.timestamp()
    return totp
