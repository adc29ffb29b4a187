"""Django mail backend that keeps mail in a table, so that development needs no server."""

from collections.abc import Sequence
from typing import override

from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.message import EmailMessage

from portal.core import clock
from portal.core.tenancy import public_context
from portal.notifications.models import MailboxMessage

KEPT_COUNT_MAX = 500
SUBJECT_LENGTH_MAX = 254


class MailboxBackend(BaseEmailBackend):
    """Stores what would be sent; the oldest goes when there is too much."""

    @override
    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        with public_context():
            for message in email_messages:
                row = MailboxMessage.objects.create(
                    at=clock.now(),
                    sender=message.from_email,
                    recipients=message.recipients(),
                    subject=str(message.subject)[:SUBJECT_LENGTH_MAX],
                    body=str(message.body),
                )
                MailboxMessage.objects.filter(pk__lte=row.pk - KEPT_COUNT_MAX).delete()
        return len(email_messages)
