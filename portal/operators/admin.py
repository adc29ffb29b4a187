"""What operators see: people, organizations, memberships and tokens; secrets are not shown."""

from datetime import datetime
from typing import ClassVar, override

from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from unfold.admin import ModelAdmin

from portal.accounts.models import AccessToken, User
from portal.operators.tenants import clusters_of, everywhere, operations_of
from portal.organizations.models import Membership, Organization
from portal.plans.models import Plan, Region

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
    """Organizations, with what happens inside each."""

    list_display: ClassVar = ["name", "slug", "schema_name", "created_at", "deleted_at"]
    search_fields: ClassVar = ["name", "slug"]
    fields: ClassVar = [
        "name",
        "slug",
        "schema_name",
        "created_at",
        "deleted_at",
        "clusters",
        "operations",
    ]
    readonly_fields: ClassVar = ["clusters", "operations"]

    @admin.display(description="Clusters")
    def clusters(self, organization: Organization) -> str:
        """List the organization's clusters."""
        rows = clusters_of(organization.schema_name, organization.slug)
        return _table(
            ("Name", "Plan", "Status", "Nodes", "Created"),
            [(c.name, c.plan, c.status, c.nodes, c.created_at) for c in rows],
        )

    @admin.display(description="Operations")
    def operations(self, organization: Organization) -> str:
        """List the organization's newest operations."""
        rows = operations_of(organization.schema_name, organization.slug)
        return _table(
            ("Cluster", "Kind", "State", "By", "Asked", "Error"),
            [(o.cluster, o.kind, o.state, o.requested_by, o.created_at, o.error) for o in rows],
        )

    @override
    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.across)
        own = path("across/", page, name="organizations_across")
        return [own, *super().get_urls()]

    def across(self, request: HttpRequest) -> HttpResponse:
        """Show the clusters and unsettled operations of all organizations."""
        clusters, operations = everywhere()
        context = {
            **self.admin_site.each_context(request),
            "title": "Clusters and operations of all organizations",
            "clusters": clusters,
            "operations": operations,
        }
        return TemplateResponse(request, "operators/across.html", context)


def _table(heads: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Draw rows as a table; everything is escaped."""
    if not rows:
        return "None."
    head = format_html_join("", "<th>{}</th>", ((name,) for name in heads))
    lines = (
        (format_html_join("", "<td>{}</td>", ((_shown(cell),) for cell in row)),) for row in rows
    )
    body = format_html_join("", "<tr>{}</tr>", lines)
    return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)


def _shown(cell: object) -> str:
    return f"{cell:%Y-%m-%d %H:%M}" if isinstance(cell, datetime) else str(cell)


@admin.register(Plan)
class PlanAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types.
    """The catalogue; a price changed here counts from now on, a plan is never deleted."""

    list_display: ClassVar = ["name", "code", "monthly_price", "nodes", "is_offered"]

    @override
    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Region)
class RegionAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types.
    """Where nodes can be placed."""

    list_display: ClassVar = ["name", "code", "is_offered"]

    @override
    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


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
