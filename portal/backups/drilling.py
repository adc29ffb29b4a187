"""Rehearsing restores: once a week the newest backup of each cluster is really restored.

It goes into a node of its own on the worker's machine, which is taken down again; nothing of it is
billed or seen by anybody. What comes of it stands on the page: a backup that was never restored is
a hope.
"""

import logging
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from threading import Event, Timer
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import transaction

from dataplane.client.errors import ProofError
from portal.audit.services import Actor
from portal.backups.constants import DRILL_EVERY, DRILL_LOCK, DRILL_TIMEOUT_S
from portal.backups.errors import StoreUnavailable
from portal.backups.fetching import whole_write
from portal.backups.models import Backup, Drill
from portal.backups.selectors import backup_newest
from portal.backups.taking import work_dir
from portal.backups.turns import heavy_turn
from portal.clusters.errors import StepFailed
from portal.clusters.models import SERVING, Cluster
from portal.clusters.operations.engine import cluster_lock
from portal.clusters.operations.opening import cluster_record
from portal.core import clock
from portal.core.streams import SealedStreamDamaged

logger = logging.getLogger(__name__)


def drills_due(*, now: datetime) -> list[UUID]:
    """Return the clusters whose newest backup was not rehearsed for a week."""
    recent = Drill.objects.filter(created_at__gt=now - DRILL_EVERY).values("cluster")
    rows = Cluster.objects.filter(
        status__in=SERVING, deleted_at=None, backups__state="stored", backups__expired_at=None
    )
    return list(rows.exclude(pk__in=recent).order_by().values_list("pk", flat=True).distinct())


def drill_run(cluster_id: UUID) -> Drill | None:
    """Rehearse the restore of a cluster's newest backup, unless others are at it or before it."""
    with cluster_lock(cluster_id, purpose=DRILL_LOCK) as is_mine:
        cluster = Cluster.objects.filter(pk=cluster_id).first()
        backup = None if cluster is None else backup_newest(cluster)
        if not is_mine or cluster is None or backup is None:
            return None
        if cluster_id not in drills_due(now=clock.now()):
            return None
        with heavy_turn() as is_ours:
            return _drill(cluster, backup) if is_ours else None


def _drill(cluster: Cluster, backup: Backup) -> Drill:
    # Written down first: a rehearsal that takes its worker down is not begun again and again.
    drill = Drill.objects.create(
        cluster=cluster, sequence=backup.sequence, created_at=clock.now(), problem=UNFINISHED
    )
    _rehearse(drill, backup)
    with transaction.atomic():
        drill.finished_at, drill.stage = clock.now(), ""
        drill.save()
        cluster_record(
            Actor(label="backups"),
            "backup.rehearsed",
            cluster,
            after={"sequence": drill.sequence, "problem": drill.problem or None},
        )
    return drill


STAGE_LENGTH_MAX = 80
UNFINISHED = "The worker ended before the rehearsal did."


def _rehearse(drill: Drill, backup: Backup) -> None:
    directory = Path(tempfile.mkdtemp(prefix="drill-", dir=work_dir()))
    try:
        _say(drill, "fetching the backup")
        whole_write(backup, directory / "backup", lambda _: None)
        (directory / "anchor.json").write_bytes(msgspec.json.encode(backup.anchor))
        report = _run(drill, directory)
    except (ProofError, StoreUnavailable, SealedStreamDamaged, StepFailed, OSError) as error:
        drill.problem = str(error)[:500]
    else:
        drill.problem = report.problem[:500]
        drill.documents, drill.seconds = report.documents, report.seconds
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if drill.problem:
        logger.error("backup.drill_failed", extra={"problem": drill.problem})


def _say(drill: Drill, words: str) -> None:
    drill.stage = words[:STAGE_LENGTH_MAX]
    drill.save(update_fields=["stage"])


class _Report(msgspec.Struct):
    """A line of the program: what it is at, or, last, what came of it."""

    at: str = ""
    documents: int = 0
    seconds: float = 0.0
    problem: str = ""


def _run(drill: Drill, directory: Path) -> _Report:
    errors, report = directory / "errors", _Report()
    with errors.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [
                sys.executable,
                *("-m", "dataplane.recovery.drill", str(directory / "backup")),
                *("--anchor", str(directory / "anchor.json")),
                *("--directory", str(directory / "node")),
            ],
            cwd=settings.BASE_DIR,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        late = Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = Timer(DRILL_TIMEOUT_S, end)
        timer.start()
        try:
            for line in process.stdout or ():
                report = msgspec.json.decode(line, type=_Report)
                if report.at:
                    _say(drill, report.at)
            process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
    if late.is_set():
        return _Report(problem=f"It took longer than {DRILL_TIMEOUT_S} s; it was {drill.stage}.")
    if report.at or process.returncode:
        words = errors.read_text(errors="replace").strip()[-500:]
        return _Report(problem=words or "It failed.")
    return report
