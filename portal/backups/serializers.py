"""What the API of backups takes; unknown fields are refused."""

from rest_framework import serializers

from portal.backups.constants import (
    EVERY_HOURS,
    KEEP_DAYS_MAX,
    KEEP_MAX,
    NOTE_LENGTH_MAX,
    WINDOW_DAYS_MAX,
)
from portal.clusters.constants import NAME_LENGTH_MAX
from portal.clusters.serializers import NODES_MAX
from portal.core.serializers import StrictSerializer


class BackupInput(StrictSerializer):
    """A backup to take now."""

    note = serializers.CharField(max_length=NOTE_LENGTH_MAX, default="", allow_blank=True)
    keep_days = serializers.IntegerField(
        min_value=1, max_value=KEEP_DAYS_MAX, default=None, allow_null=True
    )


class KeepInput(StrictSerializer):
    """How many of the last hours, days, weeks, months and years keep a backup."""

    hourly = serializers.IntegerField(min_value=0, max_value=KEEP_MAX["hourly"], default=0)
    daily = serializers.IntegerField(min_value=0, max_value=KEEP_MAX["daily"], default=0)
    weekly = serializers.IntegerField(min_value=0, max_value=KEEP_MAX["weekly"], default=0)
    monthly = serializers.IntegerField(min_value=0, max_value=KEEP_MAX["monthly"], default=0)
    yearly = serializers.IntegerField(min_value=0, max_value=KEEP_MAX["yearly"], default=0)


class PolicyInput(StrictSerializer):
    """How a cluster is backed up."""

    every_hours = serializers.ChoiceField(choices=list(EVERY_HOURS))
    keep = KeepInput()
    window_days = serializers.IntegerField(
        min_value=0, max_value=WINDOW_DAYS_MAX, default=None, allow_null=True
    )


class RestoreInput(StrictSerializer):
    """What goes where: `new` with a name, or `in_place` with the cluster's name typed.

    Name a backup, or a moment of the window: a sequence or a time.
    """

    backup = serializers.UUIDField(default=None, allow_null=True)
    to_sequence = serializers.IntegerField(min_value=1, default=None, allow_null=True)
    to_time = serializers.DateTimeField(default=None, allow_null=True)
    where = serializers.ChoiceField(choices=["new", "in_place"])
    name = serializers.CharField(max_length=NAME_LENGTH_MAX, default="", allow_blank=True)
    nodes = serializers.IntegerField(
        min_value=1, max_value=NODES_MAX, default=None, allow_null=True
    )
    confirm = serializers.CharField(max_length=NAME_LENGTH_MAX, default="", allow_blank=True)
