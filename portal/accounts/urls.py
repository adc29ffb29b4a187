"""Pages of signing up and in, and of the account."""

from django.urls import path

from portal.accounts import account_views, views

urlpatterns = [
    path("signup/", views.signup, name="signup"),
    path("signup/confirm/<str:token>/", views.confirm, name="confirm"),
    path("login/", views.login_page, name="login"),
    path("logout/", views.logout_page, name="logout"),
    path("password/reset/", views.password_reset, name="password-reset"),
    path("password/reset/<str:uid>/<str:token>/", views.password_set, name="password-set"),
    path("account/", account_views.profile, name="account"),
    path("account/email/", account_views.email, name="account-email"),
    path(
        "account/email/confirm/<str:token>/",
        account_views.email_confirm,
        name="account-email-confirm",
    ),
    path("account/password/", account_views.password, name="account-password"),
    path("account/sessions/", account_views.sessions, name="account-sessions"),
    path("account/tokens/", account_views.tokens, name="account-tokens"),
    path(
        "account/tokens/<uuid:token_id>/revoke/",
        account_views.token_revoke_page,
        name="account-token-revoke",
    ),
]
