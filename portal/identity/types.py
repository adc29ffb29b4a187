"""Second factors as pages and policies see them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class FactorKind(StrEnum):
    """What can be asked for beside a password."""

    TOTP = "totp"
    PASSKEY = "passkey"


FACTOR_WORDS = {FactorKind.TOTP: "Authenticator app", FactorKind.PASSKEY: "Passkey"}


@dataclass(frozen=True, slots=True)
class Factor:
    """One second factor of a person."""

    kind: FactorKind
    id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None

    @property
    def words(self) -> str:
        """The kind as people call it."""
        return FACTOR_WORDS[self.kind]
