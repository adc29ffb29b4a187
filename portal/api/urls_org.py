"""Routes of one organization that belong to the base apps."""

from django.urls import path

from portal.api import audit, views

urlpatterns = [
    path("members", views.MembersView.as_view(), name="api-members"),
    path("members/<uuid:member_id>", views.MemberView.as_view(), name="api-member"),
    path("invitations", views.InvitationsView.as_view(), name="api-invitations"),
    path("invitations/<uuid:invitation_id>", views.InvitationView.as_view(), name="api-invitation"),
    path("roles", views.RolesView.as_view(), name="api-roles"),
    path("tokens", views.TokensView.as_view(), name="api-tokens"),
    path("tokens/<uuid:token_id>", views.TokenView.as_view(), name="api-token"),
    path("audit", audit.AuditView.as_view(), name="api-audit"),
    path("audit.csv", audit.AuditCsvView.as_view(), name="api-audit-csv"),
    path("audit.json", audit.AuditJsonView.as_view(), name="api-audit-json"),
]
