"""Background work of the explorer."""

from uuid import UUID

from celery import shared_task

from portal.core.tenancy import current_schema, tenant_context, tenant_task, tenants
from portal.explorer.constants import IMPORT_RETRY_SECONDS
from portal.explorer.imports import import_advance, imports_stranded
from portal.explorer.models import ImportJob


@tenant_task(name="explorer.import_run")
def import_run(job_id: str) -> None:
    """Do one turn of an import and queue the next one."""
    if not import_advance(UUID(job_id)):
        return
    is_waiting = ImportJob.objects.filter(pk=job_id).exclude(waiting_since=None).exists()
    import_run.apply_async(
        kwargs={"schema": current_schema(), "job_id": job_id},
        countdown=IMPORT_RETRY_SECONDS if is_waiting else 0,
    )


@shared_task(name="explorer.imports_sweep")
def imports_sweep() -> None:
    """Hand imports whose worker died to another one."""
    for tenant in tenants():
        with tenant_context(tenant.schema_name):
            stranded = imports_stranded()
        for job_id in stranded:
            import_run.apply_async(kwargs={"schema": tenant.schema_name, "job_id": str(job_id)})
