"""The Celery application: workers and beat start with `celery -A celery_app`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.config.settings.embedded")

app = Celery("aerolith")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# Every thread of every process sends through this one; Celery's own default knows no broker.
app.set_default()
