"""Imports: prepared by a user, carried out in turns by workers, resumable at every batch."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import F, Q

from portal.access.types import Access
from portal.audit.services import audit_record
from portal.clusters.models import Cluster
from portal.clusters.selectors import cluster_get
from portal.core import clock, live
from portal.core.errors import Conflict, Invalid, NotFound
from portal.explorer.constants import (
    DRAFT_KEPT,
    IMPORT_BATCH_BYTES,
    IMPORT_BATCH_COUNT,
    IMPORT_BYTES_MAX,
    IMPORT_ERRORS_MAX,
    IMPORT_LEASE,
    IMPORT_OPEN_MAX,
    IMPORT_TURN,
    IMPORT_WAIT_MAX,
)
from portal.explorer.documents import BulkResult, bulk_put, connected
from portal.explorer.errors import ClusterRefused, UnreadableFile
from portal.explorer.models import ImportJob
from portal.explorer.parsing import decode_text, guess, read_rows
from portal.explorer.types import COLUMN_TYPES, FORMATS, Recipe, Row

logger = logging.getLogger(__name__)

# Answers after which the same batch is tried again later.
PASSING = frozenset({"unreachable", "no_quorum", "not_ready", "rate_limited"})
OPEN = (ImportJob.State.QUEUED, ImportJob.State.RUNNING)


def import_prepare(
    access: Access, cluster: Cluster, *, collection: str, name: str, content: bytes
) -> ImportJob:
    """Take a file in and guess how to read it.

    Raises:
        Invalid: It is too big or cannot be read.
    """
    if len(content) > IMPORT_BYTES_MAX:
        raise _invalid(
            "file", f"The file is larger than {IMPORT_BYTES_MAX // 2**20} MiB: split it."
        )
    try:
        found = guess(name, decode_text(content))
    except UnreadableFile as error:
        raise _invalid("file", str(error)) from error
    now = clock.now()
    ImportJob.objects.filter(state=ImportJob.State.DRAFT, created_at__lt=now - DRAFT_KEPT).delete()
    return ImportJob.objects.create(
        cluster_id=cluster.pk,
        collection=collection,
        name=name[:200],
        format=found.format,
        columns=found.columns,
        id_field=found.id_field,
        content=content,
        size_bytes=len(content),
        digest=hashlib.sha256(content).hexdigest(),
        row_count=found.row_count,
        requested_by=access.user.email,
        created_at=now,
    )


def import_start(
    access: Access, job: ImportJob, *, columns: Mapping[str, str], id_field: str
) -> ImportJob:
    """Begin a prepared import with the user's choice of types and id.

    Raises:
        Invalid: A choice does not fit the file.
        Conflict: It was started before, or too many imports are open.
    """
    for name, kind in columns.items():
        if name not in job.columns or kind not in COLUMN_TYPES:
            raise _invalid("columns", f"{name!r} cannot be read as {kind!r}")
    with transaction.atomic():
        locked = ImportJob.objects.select_for_update().get(pk=job.pk)
        if locked.state != ImportJob.State.DRAFT:
            raise Conflict(detail="This import was started before.")
        if ImportJob.objects.filter(state__in=OPEN).count() >= IMPORT_OPEN_MAX:
            raise Conflict(detail=f"At most {IMPORT_OPEN_MAX} imports run at once. Wait for one.")
        assert locked.format in FORMATS
        locked.columns = {**locked.columns, **columns}
        locked.id_field = id_field[:200]
        locked.state = ImportJob.State.QUEUED
        locked.save(update_fields=["columns", "id_field", "state"])
        audit_record(
            access_or_actor=access,
            action="documents.import_started",
            target_type="collection",
            target_id=f"{job.cluster_id}/{job.collection}",
            target_label=f"{job.name} ({job.row_count:,} rows) into {job.collection}",
        )
    return locked


def import_cancel(access: Access, job: ImportJob) -> None:
    """Stop an import; documents that were written stay."""
    changed = ImportJob.objects.filter(pk=job.pk, state__in=[*OPEN, ImportJob.State.DRAFT]).update(
        state=ImportJob.State.CANCELLED, finished_at=clock.now(), content=b""
    )
    if changed:
        audit_record(
            access_or_actor=access,
            action="documents.import_cancelled",
            target_type="collection",
            target_id=f"{job.cluster_id}/{job.collection}",
            target_label=f"{job.name} into {job.collection}",
        )


def import_resume(job: ImportJob) -> None:
    """Let a stopped import go on behind its last batch.

    Raises:
        Conflict: It did not stop, or its file is gone.
    """
    changed = (
        ImportJob.objects.filter(pk=job.pk, state=ImportJob.State.FAILED)
        .exclude(content=b"")
        .update(
            state=ImportJob.State.QUEUED,
            problem="",
            finished_at=None,
            waiting_since=None,
            attempt=F("attempt") + 1,
        )
    )
    if not changed:
        raise Conflict(detail="This import cannot go on: import the file again.")


def import_advance(job_id: UUID) -> bool:
    """Do one turn of work and answer whether there is more to do.

    A lease keeps two workers apart; should one die, its lease runs out and another goes on behind
    the last stored batch. Batches are the same in every attempt and carry an idempotency key, so
    that one that was written before the worker died is not written twice.
    """
    now = clock.now()
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    claimed = ImportJob.objects.filter(free, pk=job_id, state__in=OPEN).update(
        state=ImportJob.State.RUNNING, lease_until=now + IMPORT_LEASE
    )
    if not claimed:
        return False
    job = ImportJob.objects.get(pk=job_id)
    if job.started_at is None:
        job.started_at = now
        job.save(update_fields=["started_at"])
    try:
        _turn(job, until=now + IMPORT_TURN)
    except UnreadableFile as error:
        _finish(job, ImportJob.State.FAILED, str(error))
    except NotFound:
        _finish(job, ImportJob.State.FAILED, "The cluster was deleted.")
    except ClusterRefused as error:
        _refused(job, error)
    ImportJob.objects.filter(pk=job_id).update(lease_until=None)
    job.refresh_from_db(fields=["state"])
    _tell(job)
    return job.is_open


def imports_stranded() -> list[UUID]:
    """Answer open imports that no worker holds: the sweep hands them out again."""
    free = Q(lease_until=None) | Q(lease_until__lt=clock.now())
    return list(ImportJob.objects.filter(free, state__in=OPEN).values_list("pk", flat=True))


def recipe_of(job: ImportJob) -> Recipe:
    """Answer how the job's file is read."""
    kind = next(known for known in FORMATS if known == job.format)
    return Recipe(format=kind, columns=job.columns, id_field=job.id_field, digest=job.digest)


def rows_of(job: ImportJob) -> Iterator[Row]:
    """Read the job's file."""
    return read_rows(decode_text(bytes(job.content)), recipe_of(job))


def _turn(job: ImportJob, *, until: datetime) -> None:
    """Write batches until the file or the time is over."""
    cluster = cluster_get(job.cluster_id)
    with connected(cluster) as client:
        for batch in _batches(rows_of(job), skip=job.done_count):
            documents = [row.document for row in batch if row.document is not None]
            key = f"import-{job.pk.hex}-{job.attempt}-{batch[0].number}"
            results = bulk_put(client, job.collection, documents, key=key) if documents else []
            if not _record(job, batch, results):
                return
            if clock.now() >= until:
                return
    _finish(job, ImportJob.State.SUCCEEDED, "")


def _batches(rows: Iterator[Row], *, skip: int) -> Iterator[list[Row]]:
    """Cut rows into batches by count and size."""
    batch: list[Row] = []
    size = 0
    for row in rows:
        if row.number <= skip:
            continue
        length = len(msgspec.json.encode(row.document)) if row.document is not None else 0
        if batch and (len(batch) >= IMPORT_BATCH_COUNT or size + length > IMPORT_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    if batch:
        yield batch


def _record(job: ImportJob, batch: list[Row], results: list[BulkResult]) -> bool:
    """Store the outcome of a batch; answer False when the job was cancelled meanwhile."""
    answers = iter(results)
    for row in batch:
        detail = row.error
        if row.document is not None:
            answer = next(answers)
            if answer.code in {"quota_exceeded", "storage_quota_exceeded"}:
                raise ClusterRefused(answer.status, answer.code, answer.detail or "", {})
            if answer.status >= 400:
                detail = answer.detail or answer.code or str(answer.status)
            elif answer.status == 201:
                job.created_count += 1
            else:
                job.updated_count += 1
        if detail is not None:
            job.failed_count += 1
            if len(job.errors) < IMPORT_ERRORS_MAX:
                job.errors.append({"row": row.number, "detail": detail[:300]})
    job.done_count = batch[-1].number
    changed = ImportJob.objects.filter(pk=job.pk, state=ImportJob.State.RUNNING).update(
        done_count=job.done_count,
        created_count=job.created_count,
        updated_count=job.updated_count,
        failed_count=job.failed_count,
        errors=job.errors,
        lease_until=clock.now() + IMPORT_LEASE,
        waiting_since=None,
        problem="",
    )
    _tell(job)
    return bool(changed)


def _refused(job: ImportJob, error: ClusterRefused) -> None:
    """Wait out what passes; stop, resumably, at what does not."""
    now = clock.now()
    since = job.waiting_since or now
    if error.code in PASSING and now - since < IMPORT_WAIT_MAX:
        ImportJob.objects.filter(pk=job.pk, state=ImportJob.State.RUNNING).update(
            waiting_since=since, problem=f"Waiting for the cluster: {error.detail}"
        )
        return
    state = ImportJob.State.FAILED
    problem = f"Stopped at row {job.done_count + 1:,}: {error.detail}"
    ImportJob.objects.filter(pk=job.pk, state=ImportJob.State.RUNNING).update(
        state=state, problem=problem, finished_at=now
    )


def _finish(job: ImportJob, state: ImportJob.State, problem: str) -> None:
    """End a job; its file is no longer needed."""
    ImportJob.objects.filter(pk=job.pk, state=ImportJob.State.RUNNING).update(
        state=state, problem=problem, finished_at=clock.now(), content=b""
    )


def _tell(job: ImportJob) -> None:
    """Show the progress to whoever looks."""
    live.publish(live.cluster_group(job.cluster_id), progress_of(job))


def progress_of(job: ImportJob) -> dict[str, object]:
    """Answer the progress as pages get it."""
    return {
        "type": "import",
        "id": str(job.pk),
        "state": str(job.state),
        "label": ImportJob.State(job.state).label,
        "done": job.done_count,
        "total": job.row_count,
        "percent": job.percent,
        "created": job.created_count,
        "updated": job.updated_count,
        "failed": job.failed_count,
    }


def _invalid(field: str, detail: str) -> Invalid:
    """Make the error of one field."""
    return Invalid(errors=[{"pointer": f"/{field}", "detail": detail}])
