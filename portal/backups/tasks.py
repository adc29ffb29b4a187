"""Background work of backups."""

from uuid import UUID

from celery import shared_task

from portal.backups.selectors import backups_open
from portal.backups.services import backups_schedule_due, backups_thin_out, work_dir_tidy
from portal.backups.taking import backup_advance
from portal.core import clock
from portal.core.tenancy import tenant_context, tenant_task, tenants

MESSAGE_EXPIRES_S = 20


@tenant_task(name="backups.run")
def backup_run(backup_id: str) -> None:
    """Take one backup; the sweep asks again while it is not over."""
    backup_advance(UUID(backup_id))


@shared_task(name="backups.sweep")
def backups_sweep() -> None:
    """Begin what schedules ask for, and ask workers for every backup that is not over."""
    now = clock.now()
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            backups_schedule_due(now=now)
            waiting = backups_open(now)
        for backup_id in waiting:
            backup_run.apply_async(
                kwargs={"schema": tenant.schema_name, "backup_id": str(backup_id)},
                expires=MESSAGE_EXPIRES_S,
            )


@shared_task(name="backups.thin_out")
def backups_thin() -> None:
    """Delete what no policy keeps."""
    now = clock.now()
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            backups_thin_out(now=now)
    work_dir_tidy(now=now)
