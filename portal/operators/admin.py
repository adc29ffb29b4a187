"""What operators see: people, organizations, memberships and tokens; secrets are not shown."""

from typing import ClassVar, override

from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from portal.accounts.models import AccessToken, User
from portal.organizations.models import Membership, Organization

admin.site.unregister(Group)


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types.
    """Operators look; what changes goes through services and leaves a trail."""

    @override
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @override
    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    @override
    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    """People."""

    list_display: ClassVar = ["email", "name", "is_active", "is_staff", "email_confirmed_at"]
    list_filter: ClassVar = ["is_active", "is_staff"]
    search_fields: ClassVar = ["email", "name"]
    exclude: ClassVar = ["password", "groups", "user_permissions"]


@admin.register(Organization)
class OrganizationAdmin(ReadOnlyAdmin):
    """Organizations."""

    list_display: ClassVar = ["name", "slug", "schema_name", "created_at", "deleted_at"]
    search_fields: ClassVar = ["name", "slug"]


@admin.register(Membership)
class MembershipAdmin(ReadOnlyAdmin):
    """Who belongs where."""

    list_display: ClassVar = ["user", "organization", "role", "created_at"]
    list_filter: ClassVar = ["role"]
    search_fields: ClassVar = ["user__email", "organization__slug"]
    list_select_related: ClassVar = ["user", "organization"]


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    """Tokens, without their hashes."""

    list_display: ClassVar = ["name", "prefix", "user", "organization", "last_used_at"]
    list_select_related: ClassVar = ["user", "organization"]
    exclude: ClassVar = ["hash"]
