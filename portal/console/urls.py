"""Pages outside any organization."""

from django.urls import path

from portal.console import views

urlpatterns = [
    path("", views.landing, name="landing"),
    path("organizations/", views.organizations, name="organizations"),
    path("organizations/new/", views.organization_new, name="organization-new"),
    path("mailbox/", views.mailbox, name="mailbox"),
]
