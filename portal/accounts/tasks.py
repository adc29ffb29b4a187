"""Housekeeping of accounts."""

from celery import shared_task

from portal.accounts.models import UserSession
from portal.core import clock


@shared_task(name="accounts.sessions_clear")
def sessions_clear() -> None:
    """Delete sessions that ran out."""
    UserSession.objects.filter(expire_date__lt=clock.now()).delete()
