"""Pages of joining an organization."""

from django.urls import path

from portal.access import views

urlpatterns = [
    path("invitations/<slug:slug>/<str:secret>/", views.invitation_page, name="invitation"),
]
