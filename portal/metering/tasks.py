"""Background work of metering."""

from celery import shared_task

from portal.core import clock
from portal.core.tenancy import tenants_each
from portal.metering.services import usage_purge


@shared_task(name="metering.usage_purge")
def purge() -> None:
    """Delete events that are past their retention, in every organization."""
    now = clock.now()
    tenants_each(lambda: usage_purge(now=now))
