"""Pages of people and tokens in an organization."""

from django.urls import path

from portal.access import views

urlpatterns = [
    path("team/", views.team, name="team"),
    path("team/invite/", views.invite, name="team-invite"),
    path(
        "team/invitations/<uuid:invitation_id>/revoke/",
        views.invitation_revoke_page,
        name="team-invitation-revoke",
    ),
    path("team/<uuid:member_id>/role/", views.member_role, name="team-role"),
    path("team/<uuid:member_id>/remove/", views.member_remove_page, name="team-remove"),
    path("access/matrix/", views.matrix, name="access-matrix"),
    path("tokens/", views.tokens, name="tokens"),
    path("tokens/<uuid:token_id>/revoke/", views.token_revoke_page, name="token-revoke"),
]
