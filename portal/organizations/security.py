"""What an organization asks of those who enter it, as it is kept in its row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

FACTORS: Final = ("totp", "passkey")


@dataclass(frozen=True, slots=True)
class SecurityPolicy:
    """Whether a second factor is required, and which kinds count."""

    mfa_required: bool = False
    factors: tuple[str, ...] = FACTORS

    @property
    def json(self) -> dict[str, object]:
        """The policy as it is stored and told."""
        return {"mfa_required": self.mfa_required, "factors": list(self.factors)}


def policy_of(stored: Mapping[str, object]) -> SecurityPolicy:
    """Return what was stored; what is missing is as at the beginning."""
    kinds = stored.get("factors")
    known = tuple(kind for kind in FACTORS if isinstance(kinds, list) and kind in kinds)
    return SecurityPolicy(mfa_required=stored.get("mfa_required") is True, factors=known or FACTORS)
