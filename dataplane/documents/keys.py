"""The replicated API keys: what a gateway checks a token against."""

from typing import Final

from dataplane.documents.commands import KeyPut
from dataplane.documents.errors import INVALID, NOT_FOUND, Refusal, invalid
from dataplane.documents.tables import KEY, Batch, KeyRow, decode_key, encode_row
from dataplane.documents.types import GenesisKey, KeyRecord
from dataplane.storage.ports import KeyValueStore

KEYS_MAX: Final = 1_000
REVOCATIONS_MAX: Final = 10_000
ISSUER: Final = "issuer"
REVOCATION: Final = "revocation"
KINDS: Final = ("key", ISSUER, REVOCATION)
SCOPES_MAX: Final = 16
PATTERNS_MAX: Final = 64
TEXT_MAX: Final = 200
RATE_MAX: Final = 10_000_000
_HASH_BYTES: Final = 32


class Keys:
    """All key records, in memory and in the store."""

    def __init__(self, store: KeyValueStore) -> None:
        self.records: dict[str, KeyRecord] = {
            key[1:].decode(): _record(key[1:].decode(), decode_key(row))
            for key, row in store.iterate(KEY)
        }

    def put(self, batch: Batch, key: KeyPut | GenesisKey, now_us: int) -> bool:
        """Create or replace a record; say whether it is new.

        Raises:
            Refusal: A field is out of bounds.
        """
        _check(key)
        old = self.records.get(key.id)
        if old is not None and old.kind != key.kind:
            raise invalid("/kind", "a record keeps its kind")
        if old is None:
            self._make_room(batch, key.kind, now_us)
        row = KeyRow(
            hash=key.hash,
            name=key.name,
            scopes=key.scopes,
            collections=key.collections,
            expires_ms=key.expires_ms,
            created_us=now_us if old is None else old.created_us,
            requests_per_s=key.requests_per_s,
            kind=key.kind,
        )
        self.records[key.id] = _record(key.id, row)
        batch.put(KEY + key.id.encode(), encode_row(row))
        return old is None

    def _make_room(self, batch: Batch, kind: str, now_us: int) -> None:
        """Forget revocations of what has expired anyway, then see whether one more fits."""
        same = [record for record in self.records.values() if record.kind == kind]
        if kind == REVOCATION:
            for record in same:
                if record.expires_ms is not None and record.expires_ms * 1000 < now_us:
                    self.revoke(batch, record.id)
            same = [record for record in same if record.id in self.records]
        limit = REVOCATIONS_MAX if kind == REVOCATION else KEYS_MAX
        if len(same) >= limit:
            raise Refusal(INVALID, f"a cluster holds at most {limit} records of this kind")

    def revoke(self, batch: Batch, key_id: str) -> None:
        """Remove a record.

        Raises:
            Refusal: There is no such key.
        """
        if self.records.pop(key_id, None) is None:
            raise Refusal(NOT_FOUND, "no such key")
        batch.delete(KEY + key_id.encode())


def _record(key_id: str, row: KeyRow) -> KeyRecord:
    return KeyRecord(
        key_id,
        row.hash,
        row.name,
        row.scopes,
        row.collections,
        row.expires_ms,
        row.created_us,
        row.requests_per_s,
        row.kind,
    )


def _check(key: KeyPut | GenesisKey) -> None:
    if not 0 < len(key.id) <= TEXT_MAX or not key.id.isascii() or not key.id.isalnum():
        raise invalid("/id", "letters and digits only")
    if key.kind not in KINDS:
        raise invalid("/kind", f"one of {', '.join(KINDS)}")
    if key.kind == REVOCATION and key.expires_ms is None:
        raise invalid("/expires_ms", "a revocation ends when the token does")
    if len(key.hash) != _HASH_BYTES:
        raise invalid("/hash", "a SHA-256 is needed")
    if len(key.name) > TEXT_MAX:
        raise invalid("/name", "too long")
    if len(key.scopes) > SCOPES_MAX or any(len(scope) > TEXT_MAX for scope in key.scopes):
        raise invalid("/scopes", "too many or too long")
    patterns = key.collections
    if len(patterns) > PATTERNS_MAX or any(len(pattern) > TEXT_MAX for pattern in patterns):
        raise invalid("/collections", "too many or too long")
    if key.requests_per_s is not None and not 1 <= key.requests_per_s <= RATE_MAX:
        raise invalid("/requests_per_s", f"from 1 to {RATE_MAX}")
