"""Pages of backups, below `/o/{slug}/clusters/{id}/backups/`."""

from django.urls import path

from portal.backups import views

app_name = "backups"
urlpatterns = [
    path("", views.backups_page, name="backups"),
    path("state/", views.backups_fragment, name="state"),
    path("moment/", views.moment_view, name="moment"),
    path("branch/", views.branch_view, name="branch"),
    path("policy/storage/", views.storage_view, name="storage"),
    path("policy/", views.policy_view, name="policy"),
    path("<uuid:backup_id>/restore/", views.restore_page, name="restore"),
    path("<uuid:backup_id>/preview/", views.preview_view, name="preview"),
    path("<uuid:backup_id>/delete/", views.backup_delete_view, name="delete"),
    path("restores/<uuid:operation_id>/certificate.json", views.certificate_view, name="proof"),
]
