"""Metering alarms as operators see them: to read and to acknowledge, never to change."""

from typing import ClassVar, override

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from portal.core import clock
from portal.metering.alarms.models import MeteringAlarm


@admin.register(MeteringAlarm)
class MeteringAlarmAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types.
    """The list that an operator works through."""

    list_display: ClassVar = [
        "event_id",
        "schema",
        "code",
        "seen_count",
        "last_seen_at",
        "acknowledged_at",
    ]
    list_filter: ClassVar = ["code", ("acknowledged_at", admin.EmptyFieldListFilter)]
    search_fields: ClassVar = ["event_id", "schema"]
    actions: ClassVar = ["acknowledge"]

    @admin.action(description="Acknowledge", permissions=["view"])
    def acknowledge(self, request: HttpRequest, queryset: QuerySet[MeteringAlarm]) -> None:
        """Note that somebody looked into it."""
        queryset.filter(acknowledged_at=None).update(acknowledged_at=clock.now())

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: MeteringAlarm | None = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: MeteringAlarm | None = None) -> bool:
        return False
