"""Recovery codes: how they look, and what of them is stored."""

import hashlib
import secrets

from portal.identity.constants import RECOVERY_COUNT, RECOVERY_LENGTH

# No letter that is taken for another one on paper: neither i, l, o nor u.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ALIKE = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None})
_GROUP = 4


def codes_new() -> list[str]:
    """Return new codes, in groups of four letters."""
    return [_grouped(_letters()) for _ in range(RECOVERY_COUNT)]


def code_plain(code: str) -> str:
    """Return the code without what people add or mistake when they type it."""
    return code.strip().lower().translate(_ALIKE)


def code_is_well_formed(code: str) -> bool:
    """Tell whether it may be a recovery code at all."""
    plain = code_plain(code)
    return len(plain) == RECOVERY_LENGTH and all(letter in ALPHABET for letter in plain)


def code_hash(code: str) -> str:
    """Return what is stored; the code has 120 bits, so a slow hash would add nothing."""
    return hashlib.sha256(code_plain(code).encode()).hexdigest()


def _letters() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(RECOVERY_LENGTH))


def _grouped(letters: str) -> str:
    return "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))
