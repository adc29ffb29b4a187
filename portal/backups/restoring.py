"""Steps that bring a backup into a cluster: a new one, or the one it is of.

Everything is checked before the cluster is touched, and before what a cluster holds is cleared
away that is backed up. Loading goes on where a worker died: the cluster says which part is next.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from dataplane.client.anchors import TrustAnchor
from dataplane.client.backups import (
    BackupReader,
    Verified,
)
from dataplane.client.errors import ApiError, BackupError, ClientError, ProofError
from dataplane.client.restores import (
    discard,
    prove,
    restore_all,
    restore_certificate,
    verify_restore,
    verify_restore_certificate,
)
from portal.backups.constants import SLICE_S
from portal.backups.errors import ArchiveDamaged, StoreUnavailable
from portal.backups.fetching import OTHER, NotItsTurn, Unfinished, anchor_of, state_at_hand
from portal.backups.models import Backup, BackupState, Restore
from portal.backups.selectors import backup_open
from portal.backups.taking import backup_advance, safety_backup, work_dir
from portal.clusters.connections import admin_client, trust_anchor
from portal.clusters.errors import StepFailed
from portal.clusters.models import FINAL, ClusterStatus, Operation, OperationKind
from portal.clusters.operations.creation import error_words
from portal.clusters.operations.creation import finish as open_cluster
from portal.clusters.operations.plans import plan_register
from portal.clusters.operations.types import Context, Outcome, Step, Waiting
from portal.core import clock
from portal.core.streams import SealedStreamDamaged

LOAD_TIMEOUT_S: Final = 30.0
PAUSE_S: Final = 0.05
# What a cluster answers that trying again does not change.
REFUSALS: Final = frozenset(
    {"conflict", "invalid", "malformed", "restore_mismatch", "storage_quota_exceeded", "forbidden"}
)
_CANCEL = (
    "Cancel: the cluster is then empty. What it held before is in the backup that was taken first."
)


def register() -> None:
    """Tell the engine what restoring a backup does."""
    steps = (
        Step("check", "Wait for the cluster", 900, check),
        Step("safety", "Back up what the cluster holds now", 3_600, safety),
        Step("fetch", "Fetch the backup and check its signatures", 3_600, fetch_files, OTHER),
        Step("load", "Load it through the nodes", 14_400, load, _CANCEL),
        Step("prove", "Have the nodes sign what they loaded", 300, prove_it, _CANCEL),
        Step("open", "Open for use", 60, open_restored),
    )
    undo = (
        Step("undo_discard", "Give up what was loaded", 120, undo_discard),
        Step("undo_open", "Open for use", 60, open_restored),
    )
    plan_register(OperationKind.RESTORE_BACKUP, steps, undo)


def check(context: Context) -> Outcome:
    """Wait until the cluster is there and serves; a new one is made by another operation."""
    cluster = context.cluster
    making = (
        Operation.objects.filter(cluster=cluster, kind=OperationKind.CREATE)
        .exclude(state__in=FINAL)
        .exists()
    )
    if making:
        return Waiting("the cluster to be made")
    if cluster.deleted_at is not None:
        raise StepFailed(
            "cluster_deleted", "The cluster was deleted before the backup was restored.", "Cancel."
        )
    with _connected(context) as client:
        if client is None or not client.ready():
            return Waiting("a quorum of the cluster")
    cluster.status = ClusterStatus.PROVISIONING
    cluster.save(update_fields=["status"])
    return None


def safety(context: Context) -> Outcome:
    """Take a backup of what is about to be replaced."""
    operation = context.operation
    if not operation.params.get("replace") or operation.params.get("begun"):
        return None
    if "safety" not in operation.params:
        other = backup_open(context.cluster)
        if other is not None:
            # What was written since it began is not in it, and it may not be kept as long.
            backup_advance(other.pk)
            return Waiting("another backup to end")
        row = safety_backup(context.cluster, operation.requested_by)
        operation.params["safety"] = str(row.pk)
        operation.save(update_fields=["params"])
    backup = Backup.objects.get(pk=operation.params["safety"])
    if backup.is_open:
        backup_advance(backup.pk)
        backup.refresh_from_db()
    if backup.state == BackupState.FAILED:
        operation.params.pop("safety")
        operation.save(update_fields=["params"])
        raise StepFailed(
            "no_safety_backup",
            f"What the cluster holds now could not be backed up: {backup.problem}",
            "Retry; nothing of the cluster was changed.",
        )
    return None if backup.state == BackupState.STORED else Waiting("the backup of now")


def fetch_files(context: Context) -> Outcome:
    """Fetch what the backup consists of, put it together, and check it against the signers."""
    try:
        verified = _at_hand(context, _backup(context), OTHER)
    except Unfinished as unfinished:
        return _waiting(unfinished)
    except StoreUnavailable as error:
        return Waiting(f"the store of backups ({error.detail})")
    restore = Restore.objects.get(operation=context.operation)
    restore.rows = verified.contents.content_rows
    restore.save(update_fields=["rows"])
    return None


def load(context: Context) -> Outcome:
    """Load for a while; what was loaded before is not sent again."""
    operation = context.operation
    backup, path = _backup(context), _path(operation)
    try:
        verified = _at_hand(context, backup, _CANCEL)
        _mark_begun(operation)
        with _connected(context) as client, path.open("rb") as file:
            if client is None:
                return Waiting("the cluster's addresses")
            restore_all(
                client.run,
                str(operation.params["restore_id"]),
                verified,
                BackupReader(file).records(),
                replace=bool(operation.params.get("replace")),
                pause=_pausing(verified.contents.content_rows),
                progress=_progress(),
            )
    except Unfinished as unfinished:
        return _waiting(unfinished)
    except StoreUnavailable as error:
        return Waiting(f"the store of backups ({error.detail})")
    except ClientError as error:
        if isinstance(error, ApiError) and error.code in REFUSALS:
            raise StepFailed(error.code, f"The cluster refused: {error.detail}", _CANCEL) from error
        return Waiting(f"the cluster ({error_words(error)})")
    return None


def prove_it(context: Context) -> Outcome:
    """Have a quorum sign what was loaded; compare it with what a quorum of the source signed."""
    operation, cluster = context.operation, context.cluster
    backup = _backup(context)
    target = trust_anchor(cluster)
    try:
        verified = _at_hand(context, backup, _CANCEL)
        with _connected(context) as client:
            if client is None or target is None:
                return Waiting("the cluster's addresses")
            proof = client.run(prove())["proof"]
        certificate = _certificate(backup, verified, proof, target)
    except ProofError as error:
        raise StepFailed(
            "not_proven", f"The nodes did not sign what was loaded: {error}", _CANCEL
        ) from error
    except Unfinished as unfinished:
        return _waiting(unfinished)
    except (ClientError, StoreUnavailable) as error:
        return Waiting(f"the nodes to sign ({error_words(error)})")
    restore = Restore.objects.get(operation=operation)
    restore.certificate = {
        "certificate": certificate,
        "source_anchor": backup.anchor,
        "target_anchor": msgspec.to_builtins(target),
    }
    restore.proven_at = clock.now()
    restore.save(update_fields=["certificate", "proven_at"])
    return None


def open_restored(context: Context) -> Outcome:
    """Open the cluster, and remove the files."""
    shutil.rmtree(_path(context.operation).parent, ignore_errors=True)
    return open_cluster(context)


def undo_discard(context: Context) -> Outcome:
    """Give up what was loaded; a cluster that nothing was loaded into is left alone."""
    operation, cluster = context.operation, context.cluster
    if not operation.params.get("begun") or cluster.purged_at is not None:
        return None
    try:
        with _connected(context) as client:
            if client is not None:
                client.run(discard(str(operation.params["restore_id"])))
    except ApiError as error:
        if error.code != "not_found":
            return Waiting(f"the cluster to give the restore up ({error_words(error)})")
    except ClientError as error:
        return Waiting(f"the cluster ({error_words(error)})")
    return None


# --- Parts ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _connected(context: Context) -> Iterator[Any]:
    """Give a client of the cluster, None while it has no nodes."""
    try:
        client = admin_client(context.cluster, timeout_s=LOAD_TIMEOUT_S)
    except ClientError:
        yield None
        return
    with client:
        yield client


def _waiting(unfinished: Unfinished) -> Waiting:
    return Waiting(str(unfinished), leaves=isinstance(unfinished, NotItsTurn))


def _backup(context: Context) -> Backup:
    found = (
        Backup.objects.select_related("cluster", "base", "base__cluster")
        .filter(pk=UUID(str(context.operation.params["backup"])))
        .first()
    )
    if found is None:
        raise StepFailed("backup_gone", "The backup was deleted meanwhile.", OTHER)
    return found


def _path(operation: Operation) -> Path:
    return work_dir() / f"restore-{operation.pk}" / "backup"


def _at_hand(context: Context, backup: Backup, next_action: str) -> Verified:
    """Return what is to be loaded, in the file of the operation."""
    path, sequence = _path(context.operation), context.operation.params.get("to_sequence")
    try:
        return state_at_hand(backup, path, sequence, context.tell)
    except ArchiveDamaged as error:
        raise StepFailed(error.code, error.detail, next_action) from error
    except (ProofError, SealedStreamDamaged) as error:
        words = f"The backup does not hold: {error}"
        raise StepFailed("backup_damaged", words, next_action) from error


def _certificate(backup: Backup, verified: Verified, proof: Any, target: TrustAnchor) -> Any:
    """Return what proves the restore: of a moment between backups only the target's half.

    Raises:
        ProofError: the nodes signed something else.
    """
    if verified.signers:
        whole = restore_certificate(verified.head, verified.contents, proof)
        verify_restore_certificate(msgspec.json.encode(whole), anchor_of(backup), target)
        return msgspec.to_builtins(whole)
    proven = verify_restore(proof, target)
    if proven.content != verified.contents.content:
        raise BackupError("other_content", "other content was loaded than was replayed")
    return proof


def _mark_begun(operation: Operation) -> None:
    """Note that from here on the cluster may have been changed."""
    if not operation.params.get("begun"):
        operation.params["begun"] = True
        operation.save(update_fields=["params"])


def _rows(done: int, rows: int) -> str:
    return f"row {done:,} of {rows:,}"


def _progress() -> Any:
    ends_at = time.perf_counter() + SLICE_S

    def progress(done: int, rows: int) -> None:
        if time.perf_counter() > ends_at and done < rows:
            raise Unfinished(_rows(done, rows))

    return progress


def _pausing(rows: int) -> Any:
    ends_at = time.perf_counter() + SLICE_S

    def pause() -> None:
        if time.perf_counter() > ends_at:
            raise Unfinished(_rows(0, rows))
        time.sleep(PAUSE_S)

    return pause
