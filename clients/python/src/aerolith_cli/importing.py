"""An import that can be repeated and resumed: each row is stored once, whatever dies meanwhile.

Rows without an id get one that follows from the file and the row's number. Each batch is one bulk
call under an idempotency key. What was done is noted after each batch, with a number of this import
that the keys follow from: a second run goes on from there, and whether the batch in between was
done or not, the cluster does it once.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from blake3 import blake3

from aerolith_cli.exits import CommandError
from aerolith_cli.profiles import write_private
from aerolith_cli.rows import Row
from dataplane.client.client import Client
from dataplane.client.import_calls import IMPORT_BATCH, IMPORT_BYTES, OPERATION_BYTES

RESUMED_MAX: Final = 1_000
"""Notes of unfinished imports that are kept; the oldest goes first."""
REFUSED_SHOWN: Final = 5
ID_CHARS: Final = 32
_OWN_NAMES: Final = frozenset({"_id", "_version", "_created", "_updated", "_proof"})
_CHUNK: Final = 1024 * 1024


class UnfitRowError(Exception):
    """A row cannot become a document; says why."""


@dataclass(slots=True)
class Report:
    """What an import did in this run."""

    stored: int = 0
    skipped: int = 0
    refused: int = 0
    resumed_at: int = 0
    shown: list[str] = field(default_factory=list)

    def refuse(self, number: int, why: str) -> None:
        """Count a row that was not stored."""
        self.refused += 1
        if len(self.shown) < REFUSED_SHOWN:
            self.shown.append(f"row {number}: {why}")


class Note(msgspec.Struct, frozen=True):
    """An import that has begun, and how far it came."""

    run: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How rows become documents."""

    collection: str
    id_field: str | None
    keep_existing: bool

    def document(self, row: Row, identity: str) -> dict[str, Any]:
        """Return the document of a row, with the id that it always gets."""
        assert row.document is not None
        body = {name: value for name, value in row.document.items() if name not in _OWN_NAMES}
        source = row.document.get(self.id_field or "_id")
        if source is None and self.id_field is not None:
            raise UnfitRowError(f"there is no {self.id_field}")
        if source is None:
            seed = f"{identity}/{row.number}".encode()
            return {"_id": blake3(seed).hexdigest(ID_CHARS // 2), **body}
        if isinstance(source, bool) or not isinstance(source, str | int):
            raise UnfitRowError(f"{self.id_field or '_id'} is neither text nor a whole number")
        return {"_id": str(source), **body}

    def operation(self, document: dict[str, Any], encoded: bytes) -> dict[str, Any]:
        """Return the operation that stores a document."""
        op = "create" if self.keep_existing else "put"
        return {"op": op, "id": document["_id"], "document": msgspec.Raw(encoded)}


def file_identity(path: Path, told: Callable[[int], None]) -> str:
    """Return the hash of a file's content."""
    found = blake3()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            found.update(data)
            told(len(data))
    return found.hexdigest()


class Importer:
    """Stores rows batch by batch, from where an earlier run stopped."""

    def __init__(
        self,
        client: Client,
        recipe: Recipe,
        *,
        identity: str,
        note_path: Path | None,
        rejects: Path,
    ) -> None:
        """Take what rows become; `identity` says which rows of the world these are."""
        self._client = client
        self._recipe = recipe
        self._identity = identity
        self._note_path = note_path
        self._rejects = rejects
        self._refusals: list[bytes] = []
        self._note = self._noted()
        self.report = Report(resumed_at=self._note.rows)

    def run(self, rows: Iterator[Row]) -> Iterator[int]:
        """Store the rows; yield how many are done, after each batch."""
        done = self._note.rows
        batch: list[tuple[Row, dict[str, Any], bytes]] = []
        size, last = 0, done
        for row in rows:
            if row.number <= done:
                continue
            last = row.number
            fitted = self._fit(row)
            if fitted is None:
                continue
            weight = len(fitted[1]) + OPERATION_BYTES
            if batch and (len(batch) == IMPORT_BATCH or size + weight > IMPORT_BYTES):
                self._store(batch)
                yield batch[-1][0].number
                batch, size = [], 0
            batch.append((row, *fitted))
            size += weight
        if batch:
            self._store(batch)
        self._write_refused()
        if self._note_path is not None:
            self._note_path.unlink(missing_ok=True)
        yield last

    def _fit(self, row: Row) -> tuple[dict[str, Any], bytes] | None:
        """Return the document of a row, and its encoding; refuse a row that has none."""
        if row.document is None:
            self._refuse(row, "unreadable", row.fault)
            return None
        try:
            document = self._recipe.document(row, self._identity)
            return document, msgspec.json.encode(document)
        except (UnfitRowError, TypeError, ValueError) as error:
            self._refuse(row, "unreadable", str(error))
            return None

    def _store(self, batch: list[tuple[Row, dict[str, Any], bytes]]) -> None:
        first, last = batch[0][0].number, batch[-1][0].number
        operations = [self._recipe.operation(document, encoded) for _, document, encoded in batch]
        content = b"".join(encoded for _, _, encoded in batch)
        seed = f"{self._note.run}/{first}-{last}/".encode() + content
        results = self._client.bulk(
            self._recipe.collection, operations, idempotency_key=blake3(seed).hexdigest()
        )
        for (row, _, _), result in zip(batch, results, strict=True):
            if result["status"] < 300:
                self.report.stored += 1
            elif self._recipe.keep_existing and result.get("code") == "conflict":
                self.report.skipped += 1
            else:
                self._refuse(row, str(result.get("code")), str(result.get("detail")))
        self._write_refused()
        self._note = Note(self._note.run, last)
        self._write_note()

    def _refuse(self, row: Row, code: str, detail: str) -> None:
        """Take a row that is not stored; it is written down with its batch."""
        self.report.refuse(row.number, f"{detail} ({code})")
        line = {"row": row.number, "code": code, "detail": detail, "document": row.document}
        self._refusals.append(msgspec.json.encode(line, enc_hook=str) + b"\n")

    def _write_refused(self) -> None:
        """Write down what was not stored, so that it can be mended and sent again."""
        if self._refusals:
            with self._rejects.open("ab") as file:
                file.writelines(self._refusals)
            self._refusals = []

    def _noted(self) -> Note:
        """Return how far an import of the same came before, or that this one begins."""
        if self._note_path is not None:
            with contextlib.suppress(msgspec.DecodeError, OSError):
                return msgspec.json.decode(self._note_path.read_bytes(), type=Note)
        self._note = Note(secrets.token_hex(16))
        self._write_note()
        return self._note

    def _write_note(self) -> None:
        if self._note_path is not None:
            write_private(self._note_path, msgspec.json.encode(self._note))


def note_path(identity: str) -> Path:
    """Return where an import notes how far it came.

    Raises:
        CommandError: The folder cannot be made.
    """
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(base) / "aerolith" / "imports"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        notes = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    except OSError as error:
        raise CommandError(f"cannot use {folder}: {error.strerror}") from error
    for path in notes[: max(0, len(notes) - RESUMED_MAX)]:
        path.unlink(missing_ok=True)
    return folder / f"{identity[:ID_CHARS]}.json"
