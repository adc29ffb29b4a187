"""Bringing a backup, or the state of a moment between two, from the store into one checked file.

The files lie in one directory of the worker. What is whole there is not fetched again, and a replay
goes on where it stopped, so that each call is short; on another machine it begins anew.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from django.conf import settings

from dataplane.client.anchors import TrustAnchor, load_anchor
from dataplane.client.backups import (
    BackupReader,
    Verified,
    chained,
    verify_backup,
    weigh_backup,
)
from dataplane.client.taking import write_backup
from dataplane.wire.backups import AnyRecord, Rows
from portal.backups.archiving import segments_write
from portal.backups.constants import FETCH_TIMEOUT_S, REPLAY_TIMEOUT_S, SLICE_S
from portal.backups.keeping import STATE, fetch
from portal.backups.models import Backup
from portal.backups.stores import Pieces
from portal.backups.turns import WAITS, heavy_turn
from portal.clusters.errors import StepFailed

OTHER = "Choose another backup, or cancel; the cluster was not touched."

type Tell = Callable[[str], None]


class Unfinished(Exception):  # noqa: N818 - no error: it goes on with the next call
    """There is more to do than one call does; says how far it is."""


class NotItsTurn(Unfinished):
    """Other states are fetched or executed first."""


def anchor_of(backup: Backup) -> TrustAnchor:
    """Return whom to trust of the signers of a backup: the members of its time."""
    return load_anchor(msgspec.json.encode(backup.anchor))


def state_at_hand(backup: Backup, path: Path, sequence: int | None, tell: Tell) -> Verified:
    """Return what the file holds; it is fetched again when the worker that had it is gone.

    Raises:
        NotItsTurn: others are first.
        Unfinished, StepFailed, ProofError, SealedStreamDamaged, ArchiveDamaged, StoreUnavailable:
            as for `state_fetch`.
    """
    if not path.exists():
        with heavy_turn() as is_ours:
            if not is_ours:
                raise NotItsTurn(WAITS)
            return state_fetch(backup, path, sequence, tell)
    return _verified(backup, path) if sequence is None else _weighed(path)


def state_fetch(backup: Backup, path: Path, sequence: int | None, tell: Tell) -> Verified:
    """Write what is to be loaded to one file: the backup, or the state of a later sequence.

    Raises:
        Unfinished: it goes on with the next call.
        StepFailed: the archive does not lead to the sequence, or it takes too long.
        ProofError: the backup is not what the nodes signed.
        SealedStreamDamaged, ArchiveDamaged: the store changed it.
        StoreUnavailable: it cannot be read.
    """
    if sequence is None:
        return _whole(backup, path, tell)
    base, directory = path.with_name("base"), path.with_name("batches")
    complete = path.with_name("batches.complete")
    if not base.exists():
        _whole(backup, base, tell)
    if not complete.exists():
        _gather(backup, sequence, directory, tell)
        complete.touch()
    _replay(backup, sequence, path)
    return _weighed(path)


def _gather(backup: Backup, sequence: int, directory: Path, tell: Tell) -> None:
    """Fetch archived batches for a while: a long archive takes longer than a worker may."""
    ends_at = time.perf_counter() + SLICE_S
    directory.mkdir(exist_ok=True)
    after = backup.sequence or 0
    for reached, is_enough in segments_write(backup.cluster, after, sequence, directory):
        words = f"batches up to sequence {reached:,} of {sequence:,} to be fetched"
        tell(words)
        if not is_enough and time.perf_counter() > ends_at:
            raise Unfinished(words)


class _Reached(msgspec.Struct):
    sequence: int
    is_over: bool


def _replay(backup: Backup, sequence: int, path: Path) -> None:
    """Execute archived batches over the backup for a while, by the nodes' own state machine.

    Raises:
        Unfinished: it goes on with the next call.
        StepFailed: they do not lead to the sequence.
    """
    anchor, partial = path.with_name("anchor.json"), path.with_suffix(".partial")
    anchor.write_bytes(msgspec.json.encode(backup.anchor))
    command = [
        sys.executable,
        *("-m", "dataplane.recovery", str(path.with_name("base"))),
        *("--archive", str(path.with_name("batches"))),
        *("--anchor", str(anchor)),
        *("--to-sequence", str(sequence)),
        *("--store", str(path.with_name("replayed"))),
        *("--seconds", str(SLICE_S)),
        *("--out", str(partial)),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            command,
            cwd=settings.BASE_DIR,
            capture_output=True,
            timeout=REPLAY_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        # Once more would take as long: it is not tried until the deadline of the step.
        words = f"One slice of executing the archive took longer than {REPLAY_TIMEOUT_S} s."
        raise StepFailed("replay_too_slow", words, OTHER) from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-300:]
        raise StepFailed("not_replayed", f"The archive does not lead there: {words}", OTHER)
    reached = msgspec.json.decode(done.stdout, type=_Reached)
    if not reached.is_over:
        raise Unfinished(f"sequence {reached.sequence:,} of {sequence:,} to be executed")
    partial.replace(path)


def whole_write(backup: Backup, path: Path, tell: Tell) -> None:
    """Write a backup, with what it builds on, to one file; whoever reads that checks it.

    Raises:
        StepFailed: it takes too long.
        ProofError: it is not the backup of a cluster.
        SealedStreamDamaged: the store changed it.
        StoreUnavailable: it cannot be read.
    """
    parts = [backup] if backup.base is None else [backup.base, backup]
    readers = [BackupReader(Pieces(fetch(part, STATE))) for part in parts]
    write_backup(path, readers[-1].head, _told(chained(readers), backup.rows or 0, tell))


def _whole(backup: Backup, path: Path, tell: Tell) -> Verified:
    """Write the whole backup to one file, checked."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(".partial")
    whole_write(backup, partial, tell)
    tell("its signatures to be checked")
    verified = _verified(backup, partial)
    partial.replace(path)
    return verified


def _told(records: Iterator[AnyRecord], rows: int, tell: Tell) -> Iterator[AnyRecord]:
    """Say how far it is; end before the worker's time does, which would only begin it again."""
    ends_at, done = time.perf_counter() + FETCH_TIMEOUT_S, 0
    for record in records:
        yield record
        if isinstance(record, Rows):
            done += len(record.rows)
        tell(f"row {done:,} of {rows:,} to be fetched")
        if time.perf_counter() > ends_at:
            words = f"Row {done:,} of {rows:,} was fetched after {FETCH_TIMEOUT_S} s."
            raise StepFailed("fetch_too_slow", words, "Retry when the store answers faster.")


def _verified(backup: Backup, path: Path) -> Verified:
    with path.open("rb") as file:
        return verify_backup([file], anchor_of(backup))


def _weighed(path: Path) -> Verified:
    with path.open("rb") as file:
        return weigh_backup([file])
