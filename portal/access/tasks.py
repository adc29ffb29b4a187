"""Housekeeping of access."""

from celery import shared_task

from portal.access.bindings import bindings_expire
from portal.core.tenancy import tenants_each


@shared_task(name="access.bindings_expire")
def grants_expire() -> None:
    """Note in every organization which grants came to their end."""
    tenants_each(bindings_expire)
