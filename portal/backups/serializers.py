"""What the API of backups takes; unknown fields are refused."""

from typing import Any, Final, override

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

POINTS: Final = ("backup", "to_sequence", "to_time", "before_audit_event")


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


class PointInput(StrictSerializer):
    """A state: a backup, or a sequence, a time, or the number of a record of the audit log."""

    backup = serializers.UUIDField(default=None, allow_null=True)
    to_sequence = serializers.IntegerField(min_value=1, default=None, allow_null=True)
    to_time = serializers.DateTimeField(default=None, allow_null=True)
    before_audit_event = serializers.IntegerField(min_value=1, default=None, allow_null=True)

    @override
    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named = [name for name in POINTS if attrs[name] is not None]
        if len(named) != 1:
            raise serializers.ValidationError({"backup": f"Name one of {', '.join(POINTS)}."})
        return attrs


class RestoreInput(PointInput):
    """What goes where: `new` or `branch` with a name, or `in_place` with the cluster's name typed.

    Name a backup, or a moment of the window: a sequence, a time, or the number of a record of the
    cluster's audit log, just before which it is. A branch may end by itself (`expires`).
    """

    where = serializers.ChoiceField(choices=["new", "branch", "in_place"])
    name = serializers.CharField(max_length=NAME_LENGTH_MAX, default="", allow_blank=True)
    nodes = serializers.IntegerField(
        min_value=1, max_value=NODES_MAX, default=None, allow_null=True
    )
    confirm = serializers.CharField(max_length=NAME_LENGTH_MAX, default="", allow_blank=True)
    expires = serializers.DateTimeField(default=None, allow_null=True)

    @override
    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs = super().validate(attrs)
        if attrs["expires"] is not None and attrs["where"] != "branch":
            raise serializers.ValidationError({"expires": "Only a branch ends by itself."})
        return attrs


class BranchPatch(StrictSerializer):
    """When a branch ends; null keeps it."""

    expires = serializers.DateTimeField(allow_null=True)
