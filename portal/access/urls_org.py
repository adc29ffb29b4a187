"""Pages of people, of what they may do, and of tokens in an organization."""

from django.urls import path

from portal.access import elevation_views, grant_views, policy_views, role_views, team_views, views

urlpatterns = [
    path("team/", views.team, name="team"),
    path("team/invite/", views.invite, name="team-invite"),
    path(
        "team/invitations/<uuid:invitation_id>/revoke/",
        views.invitation_revoke_page,
        name="team-invitation-revoke",
    ),
    path(
        "team/invitations/<uuid:invitation_id>/resend/",
        views.invitation_resend_page,
        name="team-invitation-resend",
    ),
    path("team/leave/", views.leave, name="team-leave"),
    path("team/<uuid:member_id>/role/", views.member_role, name="team-role"),
    path("team/<uuid:member_id>/remove/", views.member_remove_page, name="team-remove"),
    path("team/teams/", team_views.teams, name="teams"),
    path("team/teams/new/", team_views.team_new, name="team-new"),
    path("team/teams/<uuid:team_id>/rename/", team_views.team_rename_page, name="team-rename"),
    path("team/teams/<uuid:team_id>/delete/", team_views.team_delete_page, name="team-delete"),
    path("team/teams/<uuid:team_id>/add/", team_views.team_add, name="team-add"),
    path("team/teams/<uuid:team_id>/take/", team_views.team_remove, name="team-take"),
    path("access/grants/", grant_views.grants, name="access-grants"),
    path(
        "access/grants/<uuid:binding_id>/revoke/",
        grant_views.grant_revoke,
        name="access-grant-revoke",
    ),
    path("access/labels/<uuid:cluster_id>/", grant_views.labels_page, name="access-labels"),
    path("access/roles/", role_views.roles, name="access-roles"),
    path("access/roles/new/", role_views.role_new, name="access-role-new"),
    path("access/roles/<uuid:role_id>/", role_views.role_edit, name="access-role"),
    path(
        "access/roles/<uuid:role_id>/delete/",
        role_views.role_delete_page,
        name="access-role-delete",
    ),
    path("access/elevations/", elevation_views.elevations, name="access-elevations"),
    path(
        "access/elevations/<uuid:elevation_id>/approve/",
        elevation_views.elevation_approve_page,
        name="access-elevation-approve",
    ),
    path(
        "access/elevations/<uuid:elevation_id>/deny/",
        elevation_views.elevation_deny_page,
        name="access-elevation-deny",
    ),
    path(
        "access/elevations/<uuid:elevation_id>/end/",
        elevation_views.elevation_end_page,
        name="access-elevation-end",
    ),
    path("security/", policy_views.security_page, name="access-security"),
    path("access/explain/", role_views.explain, name="access-explain"),
    path("access/matrix/", views.matrix, name="access-matrix"),
    path("tokens/", views.tokens, name="tokens"),
    path("tokens/<uuid:token_id>/revoke/", views.token_revoke_page, name="token-revoke"),
]
