"""Mail kept instead of sent, for development."""

from typing import ClassVar, override

from django.db import models


class MailboxMessage(models.Model):
    """A mail that the development backend stored; shown at /mailbox/."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    sender = models.CharField(max_length=254)
    recipients = models.JSONField()
    subject = models.CharField(max_length=254)
    body = models.TextField()

    class Meta:
        """Newest first."""

        ordering: ClassVar = ["-pk"]

    @override
    def __str__(self) -> str:
        return self.subject
