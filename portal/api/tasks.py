"""Housekeeping of the API."""

from celery import shared_task

from portal.api.idempotency import records_expire


@shared_task(name="api.records_expire")
def records_clear() -> None:
    """Delete answers that are older than they are kept."""
    records_expire()
