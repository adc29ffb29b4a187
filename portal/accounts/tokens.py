"""The form of personal tokens: recognisable, checkable without the database, stored hashed."""

import hashlib
import zlib

from portal.core.ids import BASE62, base62, random_base62

PREFIX = "aer_"
SECRET_LENGTH = 32
CHECKSUM_LENGTH = 6
SHOWN_LENGTH = len(PREFIX) + 6


def token_new() -> str:
    """Return a new secret: prefix, 32 random characters, CRC-32 of them in six."""
    secret = random_base62(SECRET_LENGTH)
    return f"{PREFIX}{secret}{_checksum(secret)}"


def token_is_well_formed(token: str) -> bool:
    """Tell whether it may be a token at all; spares the database typing errors and scans."""
    secret = token[len(PREFIX) : -CHECKSUM_LENGTH]
    return (
        token.startswith(PREFIX)
        and len(secret) == SECRET_LENGTH
        and all(character in BASE62 for character in secret)
        and token[-CHECKSUM_LENGTH:] == _checksum(secret)
    )


def token_hash(token: str) -> str:
    """Return what is stored; the secret has 190 bits, so a slow hash would add nothing."""
    return hashlib.sha256(token.encode()).hexdigest()


def _checksum(secret: str) -> str:
    return base62(zlib.crc32(secret.encode()), width=CHECKSUM_LENGTH)
