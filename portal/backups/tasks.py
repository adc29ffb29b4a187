"""Background work of backups."""

from uuid import UUID

from celery import shared_task

from portal.backups.archiving import archive_advance
from portal.backups.branching import branches_end_due
from portal.backups.drilling import drill_run, drills_due
from portal.backups.previewing import preview_run, previews_give_up
from portal.backups.selectors import backups_open, clusters_backed_up, previews_running
from portal.backups.services import backups_schedule_due, backups_thin_out, work_dir_tidy
from portal.backups.taking import backup_advance
from portal.core import clock
from portal.core.tenancy import current_schema, tenant_task, tenants_each

MESSAGE_EXPIRES_S = 20
ARCHIVE_EXPIRES_S = 5
DRILL_EXPIRES_S = 600


@tenant_task(name="backups.run")
def backup_run(backup_id: str) -> None:
    """Take one backup; the sweep asks again while it is not over."""
    backup_advance(UUID(backup_id))


@shared_task(name="backups.sweep")
def backups_sweep() -> None:
    """Begin what schedules ask for; ask workers for each backup and preview that is not over."""
    tenants_each(_sweep)


def _sweep() -> None:
    now, schema = clock.now(), current_schema()
    backups_schedule_due(now=now)
    previews_give_up(now=now)
    for backup_id in backups_open(now):
        backup_run.apply_async(
            kwargs={"schema": schema, "backup_id": str(backup_id)}, expires=MESSAGE_EXPIRES_S
        )
    for preview_id in previews_running():
        preview.apply_async(
            kwargs={"schema": schema, "preview_id": str(preview_id)}, expires=MESSAGE_EXPIRES_S
        )


@tenant_task(name="backups.archive")
def archive_run(cluster_id: str) -> None:
    """Archive what one cluster decided."""
    archive_advance(UUID(cluster_id))


@shared_task(name="backups.archive_all")
def archive_all() -> None:
    """Ask workers to archive what clusters in use decided."""
    tenants_each(_archive)


def _archive() -> None:
    schema = current_schema()
    for cluster_id in list(clusters_backed_up()):
        archive_run.apply_async(
            kwargs={"schema": schema, "cluster_id": str(cluster_id)}, expires=ARCHIVE_EXPIRES_S
        )


@tenant_task(name="backups.drill")
def drill(cluster_id: str) -> None:
    """Rehearse restoring one cluster's newest backup."""
    drill_run(UUID(cluster_id))


@shared_task(name="backups.drill_all")
def drill_all() -> None:
    """Ask a worker for one rehearsal that is due: they are no hurry, and take a machine's time."""
    tenants_each(_rehearse)


def _rehearse() -> None:
    schema = current_schema()
    for cluster_id in drills_due(now=clock.now())[:1]:
        drill.apply_async(
            kwargs={"schema": schema, "cluster_id": str(cluster_id)}, expires=DRILL_EXPIRES_S
        )


@tenant_task(name="backups.preview")
def preview(preview_id: str) -> None:
    """Compare a state that is kept with that of now; the sweep asks again while it is not over."""
    preview_run(UUID(preview_id))


@shared_task(name="backups.branches_end_due")
def branches_end() -> None:
    """Tell people of branches that end soon, and end those whose time is over."""
    now = clock.now()
    tenants_each(lambda: branches_end_due(now=now))


@shared_task(name="backups.thin_out")
def backups_thin() -> None:
    """Delete what no policy keeps."""
    now = clock.now()
    work_dir_tidy(now=now)
    tenants_each(lambda: backups_thin_out(now=now))
