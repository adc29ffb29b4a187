"""Sealing of secrets at rest: AES-256-GCM under the installation's key."""

import hashlib
import secrets
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

_VERSION = b"\x01"
_NONCE_SIZE = 12


class UnableToUnseal(Exception):  # noqa: N818 - the UnableTo… family
    """The sealed bytes were changed, or sealed under another key."""


@cache
def _cipher(key: str) -> AESGCM:
    return AESGCM(hashlib.blake2b(key.encode(), digest_size=32, person=b"aerolith-seal").digest())


def seal(plain: bytes) -> bytes:
    """Encrypt and authenticate `plain`; the same input gives another output each time."""
    nonce = secrets.token_bytes(_NONCE_SIZE)
    return _VERSION + nonce + _cipher(settings.SEAL_KEY).encrypt(nonce, plain, _VERSION)


def unseal(sealed: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        UnableToUnseal: the bytes were tampered with or the key is another.
    """
    raw = bytes(sealed)
    nonce, body = raw[1 : 1 + _NONCE_SIZE], raw[1 + _NONCE_SIZE :]
    if raw[:1] != _VERSION or len(nonce) != _NONCE_SIZE:
        raise UnableToUnseal
    try:
        return _cipher(settings.SEAL_KEY).decrypt(nonce, body, _VERSION)
    except InvalidTag as error:
        raise UnableToUnseal from error
