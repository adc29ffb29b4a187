"""Sending mail: plain text from templates, after the transaction that it reports."""

import logging
import smtplib

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string

logger = logging.getLogger(__name__)


def mail_send(*, to: str, template: str, **context: object) -> None:
    """Send the mail `notifications/<template>.txt`, whose first line is the subject."""
    everything = {**context, "portal_url": settings.PORTAL_URL, "site_name": settings.SITE_NAME}
    text = render_to_string(f"notifications/{template}.txt", everything)
    subject, _, body = text.partition("\n")
    message = EmailMessage(subject=subject.strip(), body=body.strip() + "\n", to=[to])
    transaction.on_commit(lambda: _deliver(message, template))


def _deliver(message: EmailMessage, template: str) -> None:
    """Hand over to the mail server; whoever waits for the mail can ask for another."""
    try:
        message.send()
    except (OSError, smtplib.SMTPException):
        logger.exception("mail.failed", extra={"template": template})
