"""Pages of signing up, and of a forgotten password."""

from django.urls import path

from portal.accounts import views

urlpatterns = [
    path("signup/", views.signup, name="signup"),
    path("signup/confirm/<str:token>/", views.confirm, name="confirm"),
    path("password/reset/", views.password_reset, name="password-reset"),
    path("password/reset/<str:uid>/<str:token>/", views.password_set, name="password-set"),
]
