"""Sealing of secrets at rest: AES-256-GCM under the installation's key."""

import hashlib
import secrets
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

# The first has no context; the second is bound to one.
_PLAIN = b"\x01"
_BOUND = b"\x02"
_NONCE_SIZE = 12


class UnableToUnseal(Exception):  # noqa: N818 - the UnableTo… family
    """The sealed bytes were changed, or sealed under another key."""


@cache
def _cipher(key: str) -> AESGCM:
    return AESGCM(hashlib.blake2b(key.encode(), digest_size=32, person=b"aerolith-seal").digest())


def seal(plain: bytes, *, context: bytes = b"") -> bytes:
    """Encrypt and authenticate `plain`; the same input gives another output each time.

    With a context, such as the row's id, the sealed bytes open nowhere else.
    """
    nonce = secrets.token_bytes(_NONCE_SIZE)
    version = _BOUND if context else _PLAIN
    return version + nonce + _cipher(settings.SEAL_KEY).encrypt(nonce, plain, version + context)


def unseal(sealed: bytes, *, context: bytes = b"") -> bytes:
    """Return what was sealed.

    Raises:
        UnableToUnseal: the bytes were tampered with, the key is another, or so is the context.
    """
    raw = bytes(sealed)
    version, nonce, body = raw[:1], raw[1 : 1 + _NONCE_SIZE], raw[1 + _NONCE_SIZE :]
    if version != (_BOUND if context else _PLAIN) or len(nonce) != _NONCE_SIZE:
        raise UnableToUnseal
    try:
        return _cipher(settings.SEAL_KEY).decrypt(nonce, body, version + context)
    except InvalidTag as error:
        raise UnableToUnseal from error
