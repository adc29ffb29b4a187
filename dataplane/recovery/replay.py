"""Executing archived batches over a backup, offline: the state at any sequence.

It is the nodes' own state machine that executes, so at every sequence at which they signed a root
it must have that root; wherever such roots are known on the way they are compared.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from dataplane.client.archives import Batches, Deciders
from dataplane.client.errors import BackupError
from dataplane.documents.backing_up import Read, backup_records, has_stubs
from dataplane.documents.state import StateMachine
from dataplane.documents.tables import DOCUMENT, HEADER_BYTES, Changes
from dataplane.documents.types import Genesis
from dataplane.documents.whole_rows import whole_row
from dataplane.storage.ports import KeyValueStore
from dataplane.wire.backups import FORMAT, AnyRecord, Head, Rows
from dataplane.wire.proofs import Certificate
from dataplane.wire.stubs import stub_of

WRITE_ROWS: Final = 2_000
RETAIN_EVERY: Final = 500
_BODY: Final = b"b"
"""Rows of bodies by their digests, of this store alone."""
CHANGES_BYTES: Final = 64 * 1024 * 1024

type Since = dict[str, Counter[str]]
"""Collection -> what happened -> how often."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to stop: after a sequence, or after the last batch of a time; without both at the end.

    Times are those that the nodes agreed on, in milliseconds.
    """

    sequence: int | None = None
    time_ms: int | None = None

    def is_passed(self, sequence: int, time_ms: int) -> bool:
        """Whether a batch is beyond it."""
        if self.sequence is not None and sequence > self.sequence:
            return True
        return self.time_ms is not None and time_ms > self.time_ms


@dataclass(slots=True)
class Replayed:
    """How far it went, and the sequences at which the root was one that a quorum signed.

    It is not over when it was interrupted before the target.
    """

    sequence: int
    time_ms: int
    compared: list[int] = field(default_factory=list)
    is_over: bool = True


class Replay:
    """One state, on its way from a backup to a later sequence."""

    def __init__(
        self,
        store: KeyValueStore,
        head: Head,
        records: Iterable[AnyRecord] | None,
        deciders: Deciders,
    ) -> None:
        """Load a backup into an empty store, or go on with one that it was loaded into before.

        Raises:
            BackupError: `other_root`: the rows are not those that were signed.
        """
        if records is not None:
            _load(store, records)
        self._store, self._deciders = store, deciders
        self._machine = StateMachine(store, Genesis())
        self._head = head
        self._is_interrupted = False
        if records is not None and self._machine.root() != head.certificate.root:
            raise BackupError("other_root", "the rows are not those that were signed")
        begun = self._machine.applied - head.certificate.sequence
        if begun < 0 or (records is not None and begun):
            raise BackupError("malformed", "the state is not of the sequence that was signed")
        deciders.learn(head.changes)

    @property
    def sequence(self) -> int:
        """The last sequence that was executed."""
        return self._machine.applied

    @property
    def time_ms(self) -> int:
        """The agreed time of the last batch."""
        return self._machine.view.stats().now_ms

    def root(self) -> bytes:
        """Return the root of the state as it is now."""
        return self._machine.root()

    def run(
        self,
        archive: Iterable[Batches],
        target: Target,
        *,
        roots: Mapping[int, bytes] | None = None,
        since: Since | None = None,
        is_time_up: Callable[[], bool] = lambda: False,
    ) -> Replayed:
        """Execute what the archive has up to the target; `since` counts what happens to documents.

        Asked after each batch, `is_time_up` may interrupt it: another run goes on where it was.

        Raises:
            BackupError: `gap`: a batch is missing; `other_root`: a root that a quorum signed is
                not the one here; `beyond_archive`: the archive ends before the target sequence.
            ProofError: A batch was not decided.
        """
        known, compared = dict(roots or {}), [self._head.certificate.sequence]
        self._is_interrupted = False
        for batches in archive:
            self._deciders.learn(batches.changes)
            if not self._run(batches, target, (known, compared, since), is_time_up):
                break
        if self._is_interrupted:
            return Replayed(self.sequence, self.time_ms, compared, is_over=False)
        if target.sequence is not None and self.sequence < target.sequence:
            raise BackupError("beyond_archive", f"the archive ends at {self.sequence}")
        return Replayed(self.sequence, self.time_ms, compared)

    def _run(
        self,
        batches: Batches,
        target: Target,
        noting: tuple[dict[int, bytes], list[int], Since | None],
        is_time_up: Callable[[], bool],
    ) -> bool:
        """Execute a segment; return whether to go on."""
        known, compared, since = noting
        for entry in batches.entries:
            sequence = entry.certificate.sequence
            if sequence <= self.sequence:
                continue
            if sequence != self.sequence + 1:
                raise BackupError("gap", f"{self.sequence + 1} is missing from the archive")
            batch = self._deciders.decided(entry)
            if target.is_passed(sequence, max(self.time_ms, batch.ts_ms)):
                return False
            self._machine.apply(sequence, batch.ts_ms, batch.requests)
            if sequence in known:
                if self._machine.root() != known[sequence]:
                    raise BackupError("other_root", f"at {sequence} the nodes signed another root")
                compared.append(sequence)
            if since is not None:
                self._count(sequence, since)
            if sequence % RETAIN_EVERY == 0:
                self._machine.copies.retain(sequence)
            if is_time_up() and not self._is_at(target):
                # Not asked where nothing was left to do: reading the archive takes its time, too.
                self._is_interrupted = True
                return False
        return True

    def _is_at(self, target: Target) -> bool:
        return target.sequence is not None and self.sequence >= target.sequence

    def _count(self, sequence: int, since: Since) -> None:
        rows = self._machine.view.changes.read(sequence - 1, None, bytes_max=CHANGES_BYTES)
        for placed in rows:
            for change in placed.row.changes:
                since.setdefault(change[1], Counter())[change[0]] += 1

    def records(self) -> tuple[Head, Iterator[AnyRecord]]:
        """Return the state as a backup that nobody signed: who replayed knows what it is."""
        certificate = Certificate("seal", self.sequence, self._machine.root(), ())
        epoch = self._machine.configuration.epoch
        head = Head(FORMAT, self._head.cluster_id, epoch, certificate, (), self.time_ms)
        return head, _with_bodies(self._store.get, backup_records(self._store.get))


def _body_key(digest: bytes) -> bytes:
    return _BODY + digest


def _with_bodies(read: Read, records: Iterator[AnyRecord]) -> Iterator[AnyRecord]:
    """Yield records with the bodies of cold documents: sealed here, or loaded with the backup."""
    for record in records:
        if not (isinstance(record, Rows) and has_stubs(record)):
            yield record
            continue
        for key, value in record.rows:
            stub = stub_of(value) if key.startswith(DOCUMENT) else None
            if stub is None:
                yield Rows(((key, value),))
                continue
            body = read(_body_key(stub.digest))
            if body is None:
                body = whole_row(read, value)[HEADER_BYTES:]
            yield Rows(((key, value),), (body,))


def _load(store: KeyValueStore, records: Iterable[AnyRecord]) -> None:
    changes: Changes = {}
    for record in records:
        if isinstance(record, Rows):
            changes.update(record.rows)
            # For the backup that may be made of it: nothing else needs them.
            changes.update({_body_key(blake3(body).digest()): body for body in record.bodies})
        if len(changes) >= WRITE_ROWS:
            store.write(changes)
            changes = {}
    store.write(changes)
