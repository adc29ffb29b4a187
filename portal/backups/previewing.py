"""Previews of restores: a state that is kept, compared row by row with that of now.

A worker fetches the state as a restore would, and then asks the nodes for what differs from it: as
for an incremental backup they are told the digests of what is there, and send the rest. Both states
are checked against signatures (one between backups was executed), so the counts are exact.
"""

import logging
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import IntegrityError, transaction

from dataplane.client.backups import BackupReader, Verified, chained
from dataplane.client.differences import differences
from dataplane.client.errors import ClientError
from dataplane.client.taking import take_backup
from portal.access.types import Access
from portal.backups.constants import (
    PREVIEW_DEATH,
    PREVIEW_LOCK,
    PREVIEW_TIMEOUT_S,
    PREVIEW_WAIT_MAX,
    PREVIEWS_KEPT,
)
from portal.backups.errors import (
    ArchiveDamaged,
    PreviewRunning,
    StoreUnavailable,
    UnableToBackUp,
)
from portal.backups.fetching import Unfinished, state_at_hand
from portal.backups.models import Preview, PreviewState
from portal.backups.moments import Point
from portal.backups.requests import require_restorable
from portal.backups.taking import work_dir
from portal.backups.turns import WAITS, heavy_turn
from portal.clusters.connections import admin_key, node_urls, trust_anchor
from portal.clusters.errors import StepFailed
from portal.clusters.models import SERVING, Cluster
from portal.clusters.operations.engine import cluster_lock
from portal.core import clock
from portal.core.streams import SealedStreamDamaged
from portal.core.tenancy import current_schema

logger = logging.getLogger(__name__)

STAGE_LENGTH_MAX = 120
_LEFT = "The worker ended before the comparison did."
_NO_TURN = "Its turn did not come within an hour: others were first. Ask again."


def preview_request(access: Access, point: Point) -> Preview:
    """Have a state compared with that of now; the same that is being compared is answered.

    Raises:
        BackupNotUsable, MomentNotKept: the state could not be restored either.
        UnableToBackUp: the cluster does not serve: there is no state of now.
        PreviewRunning: another state of it is being compared.
    """
    require_restorable(point.backup, point.to_sequence)
    cluster = point.backup.cluster
    if cluster.status not in SERVING or cluster.deleted_at is not None:
        raise UnableToBackUp(f"The cluster is {cluster.status}: nothing can be compared now.")
    now = clock.now()
    previews_give_up(now=now)
    try:
        with transaction.atomic():
            preview = Preview.objects.create(
                cluster=cluster,
                backup=point.backup,
                sequence=point.sequence,
                requested_by=access.user.email,
                created_at=now,
            )
            _enqueue(preview)
    except IntegrityError as error:
        running = Preview.objects.filter(cluster=cluster, state=PreviewState.RUNNING)
        same = running.filter(sequence=point.sequence).first()
        if same is None:
            raise PreviewRunning("Another state of this cluster is being compared now.") from error
        return same
    old = Preview.objects.filter(cluster=cluster).values_list("pk", flat=True)[PREVIEWS_KEPT:]
    Preview.objects.filter(pk__in=list(old)).delete()
    return preview


def previews_give_up(*, now: datetime) -> None:
    """Say of comparisons whose worker died, or whose turn never came, that they failed."""
    running = Preview.objects.filter(state=PreviewState.RUNNING)
    left = running.filter(begun_at__lt=now - PREVIEW_DEATH)
    left.update(state=PreviewState.FAILED, problem=_LEFT, stage="", finished_at=now)
    waiting = running.filter(begun_at=None, created_at__lt=now - PREVIEW_WAIT_MAX)
    waiting.update(state=PreviewState.FAILED, problem=_NO_TURN, stage="", finished_at=now)


def _enqueue(preview: Preview) -> None:
    schema, preview_id = current_schema(), str(preview.pk)

    def send() -> None:
        current_app.send_task(
            "backups.preview",
            kwargs={"schema": schema, "preview_id": preview_id},
            expires=60,
            retry=False,
        )

    transaction.on_commit(send, robust=True)


def preview_run(preview_id: UUID) -> None:
    """Compare, unless somebody is at it or has done it, or others are first."""
    found = Preview.objects.filter(pk=preview_id, state=PreviewState.RUNNING)
    preview = found.select_related("cluster", "backup__cluster", "backup__base__cluster").first()
    if preview is None:
        return
    with cluster_lock(preview.cluster_id, purpose=PREVIEW_LOCK) as is_mine:
        if not is_mine or not found.exists():
            return
        with heavy_turn() as is_ours:
            if is_ours:
                found.filter(begun_at=None).update(begun_at=clock.now())
                _run(preview)
            else:
                found.filter(begun_at=None).update(stage=WAITS)


def _run(preview: Preview) -> None:
    """Compare, and write down what came of it."""
    directory = work_dir() / f"preview-{preview.pk}"
    try:
        _compare(preview, directory)
    except (StepFailed, StoreUnavailable, ArchiveDamaged) as error:
        _end(preview, PreviewState.FAILED, problem=error.detail)
    except (ClientError, SealedStreamDamaged, OSError) as error:
        _end(preview, PreviewState.FAILED, problem=str(error))
    except SoftTimeLimitExceeded:
        _end(preview, PreviewState.FAILED, problem="It took longer than a worker may.")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _compare(preview: Preview, directory: Path) -> None:
    tell = _teller(preview)
    then, path = _fetched(preview, directory / "state", tell), directory / "now"
    cluster: Cluster = Cluster.objects.prefetch_related("nodes").get(pk=preview.cluster_id)
    anchor = trust_anchor(cluster)
    if anchor is None or not cluster.admin_key:
        raise ClientError("the cluster has no nodes that could answer")
    tell("the nodes to send what differs")
    taken = take_backup(
        node_urls(cluster), admin_key(cluster), anchor, path, known=then.contents.known
    )
    tell("documents to be compared")
    with (
        (directory / "state").open("rb") as one,
        (directory / "state").open("rb") as base,
        path.open("rb") as other,
    ):
        now = chained([BackupReader(base), BackupReader(other)])
        found = differences(BackupReader(one).records(), now)
    _end(
        preview,
        PreviewState.DONE,
        now_sequence=taken.head.certificate.sequence,
        collections=msgspec.to_builtins(found),
    )


def _fetched(preview: Preview, path: Path, tell: Callable[[str], None]) -> Verified:
    backup, sequence = preview.backup, preview.sequence
    to_sequence = None if sequence == backup.sequence else sequence
    ends_at = time.perf_counter() + PREVIEW_TIMEOUT_S
    while True:
        try:
            return state_at_hand(backup, path, to_sequence, tell)
        except Unfinished as unfinished:
            tell(str(unfinished))
            if time.perf_counter() > ends_at:
                words = f"It took longer than {PREVIEW_TIMEOUT_S} s; it waited for {unfinished}."
                raise StepFailed("preview_too_slow", words, "") from unfinished


def _teller(preview: Preview) -> Callable[[str], None]:
    told_at = 0.0

    def tell(words: str) -> None:
        nonlocal told_at
        if time.perf_counter() - told_at >= 1:
            told_at = time.perf_counter()
            Preview.objects.filter(pk=preview.pk).update(stage=words[:STAGE_LENGTH_MAX])

    return tell


def _end(preview: Preview, state: PreviewState, *, problem: str = "", **found: Any) -> None:
    if problem:
        logger.warning("preview.failed", extra={"preview": str(preview.pk), "problem": problem})
    # By its key: saved whole it would come back after its backup was deleted.
    Preview.objects.filter(pk=preview.pk).update(
        state=state, problem=problem[:500], stage="", finished_at=clock.now(), **found
    )
