"""Identifiers: time-ordered UUIDs (RFC 9562, version 7) and random tokens."""

import secrets
import string
from uuid import UUID

from portal.core import clock

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def uuid7() -> UUID:
    """Return a new UUID whose order is that of creation, to the millisecond."""
    milliseconds = int(clock.now().timestamp() * 1000) & ((1 << 48) - 1)
    tail = secrets.randbits(74)
    value = milliseconds << 80 | 7 << 76 | (tail >> 62) << 64 | 0b10 << 62 | tail & ((1 << 62) - 1)
    return UUID(int=value)


def random_base62(length: int) -> str:
    """Return `length` characters drawn from digits and letters by the system's generator."""
    return "".join(secrets.choice(BASE62) for _ in range(length))


def base62(number: int, *, width: int) -> str:
    """Write `number` with digits and letters, padded to `width`."""
    digits = ""
    while number:
        number, index = divmod(number, len(BASE62))
        digits = BASE62[index] + digits
    return digits.rjust(width, "0")
