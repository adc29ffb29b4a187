"""Housekeeping of access."""

from celery import shared_task

from portal.access.bindings import bindings_expire
from portal.access.elevation import elevations_lapse
from portal.core.tenancy import tenants_each


@shared_task(name="access.bindings_expire")
def grants_expire() -> None:
    """Note in every organization which grants and requests came to their end."""
    tenants_each(_expire)


def _expire() -> None:
    bindings_expire()
    elevations_lapse()
