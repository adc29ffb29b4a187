"""Pages of signing in, and of the account."""

from django.urls import path, re_path

from portal.identity import account_views, passkey_views, security_views, views

SECURITY = "account/security/"
ASK = "^passkey/(?P<purpose>login|factor|confirm)/"

urlpatterns = [
    path("login/", views.login_page, name="login"),
    path("login/factor/", views.factor_page, name="login-factor"),
    path("login/enrol/", security_views.enrol_page, name="login-enrol"),
    re_path(ASK + "begin/$", passkey_views.ask_begin, name="passkey-begin"),
    re_path(ASK + "finish/$", passkey_views.ask_finish, name="passkey-finish"),
    path("logout/", views.logout_page, name="logout"),
    path("account/", account_views.profile, name="account"),
    path("account/confirm/", views.confirm_page, name="account-confirm"),
    path("account/email/", account_views.email, name="account-email"),
    path(
        "account/email/confirm/<str:token>/",
        account_views.email_confirm,
        name="account-email-confirm",
    ),
    path("account/password/", account_views.password, name="account-password"),
    path(SECURITY, security_views.security_page, name="account-security"),
    path(f"{SECURITY}totp/", security_views.totp_page, name="account-totp"),
    path(f"{SECURITY}passkeys/begin/", passkey_views.add_begin, name="passkey-add-begin"),
    path(f"{SECURITY}passkeys/finish/", passkey_views.add_finish, name="passkey-add-finish"),
    path(f"{SECURITY}recovery/", security_views.recovery_page, name="account-recovery"),
    path(
        f"{SECURITY}<uuid:factor_id>/rename/",
        security_views.factor_rename_page,
        name="account-factor-rename",
    ),
    path(
        f"{SECURITY}<uuid:factor_id>/remove/",
        security_views.factor_remove_page,
        name="account-factor-remove",
    ),
    path("account/sessions/", account_views.sessions, name="account-sessions"),
    path("account/tokens/", account_views.tokens, name="account-tokens"),
    path(
        "account/tokens/<uuid:token_id>/revoke/",
        account_views.token_revoke_page,
        name="account-token-revoke",
    ),
]
