"""Routes of one organization that belong to the base apps."""

from django.urls import path

from portal.api import access, audit, security, views

urlpatterns = [
    path("members", views.MembersView.as_view(), name="api-members"),
    path("members/me", views.LeavingView.as_view(), name="api-member-me"),
    path("members/<uuid:member_id>", views.MemberView.as_view(), name="api-member"),
    path("invitations", views.InvitationsView.as_view(), name="api-invitations"),
    path("invitations/<uuid:invitation_id>", views.InvitationView.as_view(), name="api-invitation"),
    path(
        "invitations/<uuid:invitation_id>/resend",
        views.InvitationResendView.as_view(),
        name="api-invitation-resend",
    ),
    path("roles", views.RolesView.as_view(), name="api-roles"),
    path("teams", access.TeamsView.as_view(), name="api-teams"),
    path("teams/<uuid:team_id>", access.TeamView.as_view(), name="api-team"),
    path("teams/<uuid:team_id>/members", access.TeamMembersView.as_view(), name="api-team-members"),
    path(
        "teams/<uuid:team_id>/members/<uuid:user_id>",
        access.TeamMemberView.as_view(),
        name="api-team-member",
    ),
    path("roles/<uuid:role_id>", access.RoleView.as_view(), name="api-role"),
    path("roles/<uuid:role_id>/preview", access.RolePreviewView.as_view(), name="api-role-preview"),
    path("elevations", access.ElevationsView.as_view(), name="api-elevations"),
    path("elevations/<uuid:elevation_id>", access.ElevationView.as_view(), name="api-elevation"),
    path(
        "elevations/<uuid:elevation_id>/approve",
        access.ElevationApproveView.as_view(),
        name="api-elevation-approve",
    ),
    path(
        "elevations/<uuid:elevation_id>/deny",
        access.ElevationDenyView.as_view(),
        name="api-elevation-deny",
    ),
    path("access/explain", access.ExplainView.as_view(), name="api-access-explain"),
    path("bindings", access.BindingsView.as_view(), name="api-bindings"),
    path("bindings/<uuid:binding_id>", access.BindingView.as_view(), name="api-binding"),
    path("clusters/<uuid:cluster_id>/labels", access.LabelsView.as_view(), name="api-labels"),
    path("security-policy", security.SecurityPolicyView.as_view(), name="api-security-policy"),
    path("tokens", views.TokensView.as_view(), name="api-tokens"),
    path("tokens/<uuid:token_id>", views.TokenView.as_view(), name="api-token"),
    path("audit", audit.AuditView.as_view(), name="api-audit"),
    path("audit.csv", audit.AuditCsvView.as_view(), name="api-audit-csv"),
    path("audit.json", audit.AuditJsonView.as_view(), name="api-audit-json"),
]
