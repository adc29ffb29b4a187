"""The outbox's file: queued operations in SQLite, every change one transaction on disk."""

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec

from dataplane.client.errors import OutboxError, OutboxFullError
from dataplane.client.stamps import HybridClock

FORMAT: Final = 1
OPERATIONS_MAX: Final = 10_000
BYTES_MAX: Final = 64 * 1024 * 1024
_SCHEMA: Final = """
CREATE TABLE operations (
  number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, collection TEXT NOT NULL,
  document_id TEXT NOT NULL, op TEXT NOT NULL, value BLOB, base_version INTEGER, base BLOB,
  follows INTEGER, conditional INTEGER NOT NULL, stamp TEXT NOT NULL, size INTEGER NOT NULL,
  sent_ms INTEGER, code TEXT, detail TEXT);
CREATE INDEX by_document ON operations (collection, document_id);
CREATE INDEX by_predecessor ON operations (follows);
CREATE TABLE names (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_COLUMNS: Final = (
    "number, key, collection, document_id, op, value, base_version, base, follows, conditional,"
    " stamp, sent_ms, code, detail"
)

type OpName = Literal["put", "patch", "update", "delete"]


@dataclass(frozen=True, slots=True)
class Queued:
    """One operation of the outbox; with a `code` it was refused for good and waits for a person."""

    number: int
    key: str
    collection: str
    document_id: str
    op: OpName
    value: dict[str, Any] | None
    base_version: int | None
    base: dict[str, Any] | None
    follows: int | None
    conditional: bool
    stamp: str
    sent_ms: int | None
    code: str | None
    detail: str | None

    def operation(self) -> dict[str, Any]:
        """Return the bulk operation; one without a base must not meet a document.

        Version 0 is never current, so a change that has no base to stand on becomes a conflict.
        """
        fields: dict[str, Any] = {"op": self.op, "id": self.document_id, "stamp": self.stamp}
        if self.value is not None:
            fields["document"] = self.value
        if not self.conditional:
            return fields
        if self.op == "put" and self.base_version is None:
            return {**fields, "op": "create"}
        fields["if_version"] = self.base_version or 0
        if self.base is not None:
            fields["base"] = self.base
        return fields


class OutboxStore:
    """One outbox file; calls may come from any thread, one at a time."""

    def __init__(
        self,
        path: Path,
        now_ms: Callable[[], int],
        *,
        operations_max: int = OPERATIONS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._limits = operations_max, bytes_max
        self._lock = threading.Lock()
        # The file holds documents: nobody else may read it.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._sql.execute("PRAGMA journal_mode=WAL")
            self._sql.execute("PRAGMA synchronous=FULL")
            self._prepare()
        except sqlite3.Error as error:
            raise OutboxError(f"{path.name} cannot be used as an outbox: {error}") from error
        self._clock = HybridClock(now_ms, self._name("device"), self._name("stamp"))

    def _prepare(self) -> None:
        with self._change():
            (version,) = self._sql.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._sql.execute(statement)
                self._sql.execute(f"PRAGMA user_version={FORMAT}")
                self._set_name("device", secrets.token_hex(4))
                self._set_name("stamp", "")
            elif version != FORMAT:
                raise OutboxError(f"outbox format {version} is not known")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._sql.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Make one transaction, across threads and processes."""
        with self._lock:
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._sql.execute("ROLLBACK")
                raise
            self._commit()

    def _commit(self) -> None:
        self._sql.execute("COMMIT")

    def _name(self, name: str) -> str:
        found = self._sql.execute("SELECT value FROM names WHERE name=?", (name,)).fetchone()
        return str(found[0])

    def _set_name(self, name: str, value: str) -> None:
        self._sql.execute("INSERT OR REPLACE INTO names VALUES (?, ?)", (name, value))

    # --- Queueing -------------------------------------------------------------------------------

    def add(
        self,
        place: tuple[str, str],
        op: OpName,
        value: dict[str, Any] | None,
        base: dict[str, Any] | None,
        *,
        conditional: bool,
    ) -> int:
        """Queue an operation and return its number.

        A conditional change of a document that has changes in the queue follows the last of them:
        its base is what that one leaves behind.

        Raises:
            OutboxFullError: The outbox is at a limit.
        """
        packed = None if value is None else msgspec.json.encode(value)
        packed_base = None if base is None else msgspec.json.encode(base)
        size = len(packed or b"") + len(packed_base or b"")
        version = None if base is None else base.get("_version")
        with self._change():
            self._check_room(size)
            follows = self._last_of(place) if conditional else None
            stamp = self._clock.stamp()
            self._set_name("stamp", stamp)
            cursor = self._sql.execute(
                "INSERT INTO operations (key, collection, document_id, op, value, base_version,"
                " base, follows, conditional, stamp, size) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (
                    secrets.token_urlsafe(18),
                    *place,
                    op,
                    packed,
                    None if follows else version,
                    None if follows else packed_base,
                    follows,
                    int(conditional),
                    stamp,
                    size,
                ),
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _check_room(self, size: int) -> None:
        count, total = self._sql.execute(
            "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM operations"
        ).fetchone()
        operations_max, bytes_max = self._limits
        if count >= operations_max or total + size > bytes_max:
            raise OutboxFullError(f"the outbox holds {count} operations and {total} bytes")

    def _last_of(self, place: tuple[str, str]) -> int | None:
        found = self._sql.execute(
            "SELECT MAX(number) FROM operations"
            " WHERE collection=? AND document_id=? AND code IS NULL",
            place,
        ).fetchone()
        return None if found[0] is None else int(found[0])

    # --- Sending --------------------------------------------------------------------------------

    def head(self, now_ms: int) -> Queued | None:
        """Return the oldest operation that is not refused, after noting that it is sent now."""
        with self._change():
            found = self._select("WHERE code IS NULL ORDER BY number LIMIT 1")
            if found and found[0].sent_ms is None:
                self._sql.execute(
                    "UPDATE operations SET sent_ms=? WHERE number=?", (now_ms, found[0].number)
                )
        return found[0] if found else None

    def done(self, operation: Queued, version: int | None, document: dict[str, Any] | None) -> bool:
        """Forget an operation that was done; those that follow stand on what it left."""
        packed = None if document is None else msgspec.json.encode(document)
        return self._forget(operation, version, packed)

    def conflicted(self, operation: Queued) -> bool:
        """Forget an operation that the cluster keeps; those that follow stand where it stood."""
        base = None if operation.base is None else msgspec.json.encode(operation.base)
        return self._forget(operation, operation.base_version, base)

    def _forget(self, operation: Queued, version: int | None, base: bytes | None) -> bool:
        with self._change():
            gone = self._sql.execute("DELETE FROM operations WHERE number=?", (operation.number,))
            if gone.rowcount:
                self._rebase(operation.number, version, base)
        return bool(gone.rowcount)

    def _rebase(self, number: int, version: int | None, base: bytes | None) -> None:
        self._sql.execute(
            "UPDATE operations SET follows=NULL, base_version=?, base=? WHERE follows=?",
            (version, base, number),
        )

    def refused(self, operation: Queued, code: str, detail: str) -> None:
        """Set an operation aside that sending again would not help."""
        base = None if operation.base is None else msgspec.json.encode(operation.base)
        with self._change():
            self._sql.execute(
                "UPDATE operations SET code=?, detail=? WHERE number=?",
                (code, detail[:500], operation.number),
            )
            self._rebase(operation.number, operation.base_version, base)

    # --- Looking in -----------------------------------------------------------------------------

    def waiting(self) -> list[Queued]:
        """Return what is to be sent, in order."""
        with self._lock:
            return self._select("WHERE code IS NULL ORDER BY number")

    def failures(self) -> list[Queued]:
        """Return what was refused for good, in order."""
        with self._lock:
            return self._select("WHERE code IS NOT NULL ORDER BY number")

    @property
    def queued_count(self) -> int:
        """How many operations were ever queued here."""
        with self._lock:
            found = self._sql.execute(
                "SELECT seq FROM sqlite_sequence WHERE name='operations'"
            ).fetchone()
        return 0 if found is None else int(found[0])

    def requeue(self, number: int) -> bool:
        """Send a refused operation once more, as a new one; its place in the order stays."""
        with self._change():
            changed = self._sql.execute(
                "UPDATE operations SET code=NULL, detail=NULL, sent_ms=NULL, key=?"
                " WHERE number=? AND code IS NOT NULL",
                (secrets.token_urlsafe(18), number),
            )
        return bool(changed.rowcount)

    def discard(self, number: int) -> bool:
        """Forget a refused operation."""
        with self._change():
            gone = self._sql.execute(
                "DELETE FROM operations WHERE number=? AND code IS NOT NULL", (number,)
            )
        return bool(gone.rowcount)

    def _select(self, where: str) -> list[Queued]:
        rows = self._sql.execute(f"SELECT {_COLUMNS} FROM operations {where}")  # noqa: S608 - ours
        return [_queued(list(row)) for row in rows]


def _queued(columns: list[Any]) -> Queued:
    columns[5], columns[7] = _json(columns[5]), _json(columns[7])
    columns[9] = bool(columns[9])
    return Queued(*columns)


def _json(packed: bytes | None) -> dict[str, Any] | None:
    return None if packed is None else msgspec.json.decode(packed, type=dict[str, Any])
