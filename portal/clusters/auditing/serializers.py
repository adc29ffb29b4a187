"""What the API of the audit log, of modes and of persons takes; unknown fields are refused."""

from rest_framework import serializers

from portal.clusters.auditing.presentation import DAYS_MAX, LEVEL_WORDS, MODE_NAMES
from portal.clusters.auditing.subjects import SUBJECT_CHARS_MAX
from portal.clusters.constants import NAME_LENGTH_MAX
from portal.core.serializers import StrictSerializer


class AuditSettingsInput(StrictSerializer):
    """What is recorded, and for how long it is kept."""

    level = serializers.ChoiceField(choices=list(LEVEL_WORDS))
    retention_days = serializers.IntegerField(min_value=1, max_value=DAYS_MAX)


class ComplianceInput(StrictSerializer):
    """Which modes are to be on; `confirm` is the cluster's name, to turn one off."""

    modes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(MODE_NAMES)), max_length=len(MODE_NAMES)
    )
    dry_run = serializers.BooleanField(default=False)
    confirm = serializers.CharField(max_length=NAME_LENGTH_MAX, default="", allow_blank=True)


class SubjectInput(StrictSerializer):
    """Who: what names the person in the documents."""

    subject = serializers.CharField(max_length=SUBJECT_CHARS_MAX)


class ErasureInput(SubjectInput):
    """The cluster's name, typed; `erasure` of an answer goes on with what is not over."""

    confirm = serializers.CharField(max_length=NAME_LENGTH_MAX)
    erasure = serializers.RegexField(
        r"\A[0-9a-f]{32}\Z", default="", allow_blank=True, max_length=32
    )
