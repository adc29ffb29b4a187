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
from portal.core.tenancy import tenant_context, tenant_task, tenants

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
    now = clock.now()
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            backups_schedule_due(now=now)
            previews_give_up(now=now)
            waiting, compared = backups_open(now), previews_running()
        for backup_id in waiting:
            backup_run.apply_async(
                kwargs={"schema": tenant.schema_name, "backup_id": str(backup_id)},
                expires=MESSAGE_EXPIRES_S,
            )
        for preview_id in compared:
            preview.apply_async(
                kwargs={"schema": tenant.schema_name, "preview_id": str(preview_id)},
                expires=MESSAGE_EXPIRES_S,
            )


@tenant_task(name="backups.archive")
def archive_run(cluster_id: str) -> None:
    """Archive what one cluster decided."""
    archive_advance(UUID(cluster_id))


@shared_task(name="backups.archive_all")
def archive_all() -> None:
    """Ask workers to archive what clusters in use decided."""
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            found = list(clusters_backed_up())
        for cluster_id in found:
            archive_run.apply_async(
                kwargs={"schema": tenant.schema_name, "cluster_id": str(cluster_id)},
                expires=ARCHIVE_EXPIRES_S,
            )


@tenant_task(name="backups.drill")
def drill(cluster_id: str) -> None:
    """Rehearse restoring one cluster's newest backup."""
    drill_run(UUID(cluster_id))


@shared_task(name="backups.drill_all")
def drill_all() -> None:
    """Ask a worker for one rehearsal that is due: they are no hurry, and take a machine's time."""
    now = clock.now()
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            due = drills_due(now=now)[:1]
        for cluster_id in due:
            drill.apply_async(
                kwargs={"schema": tenant.schema_name, "cluster_id": str(cluster_id)},
                expires=DRILL_EXPIRES_S,
            )


@tenant_task(name="backups.preview")
def preview(preview_id: str) -> None:
    """Compare a state that is kept with that of now; the sweep asks again while it is not over."""
    preview_run(UUID(preview_id))


@shared_task(name="backups.branches_end_due")
def branches_end() -> None:
    """Tell people of branches that end soon, and end those whose time is over."""
    now = clock.now()
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            branches_end_due(now=now)


@shared_task(name="backups.thin_out")
def backups_thin() -> None:
    """Delete what no policy keeps."""
    now = clock.now()
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            backups_thin_out(now=now)
    work_dir_tidy(now=now)
