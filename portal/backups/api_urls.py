"""API paths of backups, below `/orgs/{slug}/`."""

from django.urls import path

from portal.backups import api

ONE = "clusters/<uuid:cluster_id>"

urlpatterns = [
    path(f"{ONE}/backups", api.BackupsView.as_view(), name="api-backups"),
    path(f"{ONE}/backups/policy", api.BackupPolicyView.as_view(), name="api-backup-policy"),
    path(
        f"{ONE}/backups/policy/preview",
        api.PolicyPreviewView.as_view(),
        name="api-backup-policy-preview",
    ),
    path(f"{ONE}/backups/<uuid:backup_id>", api.BackupView.as_view(), name="api-backup"),
    path(f"{ONE}/branch", api.BranchView.as_view(), name="api-branch"),
    path(f"{ONE}/branches", api.BranchesView.as_view(), name="api-branches"),
    path(f"{ONE}/restore/preview", api.PreviewsView.as_view(), name="api-restore-previews"),
    path(
        f"{ONE}/restore/preview/<uuid:preview_id>",
        api.PreviewView.as_view(),
        name="api-restore-preview",
    ),
    path(f"{ONE}/restore", api.RestoresView.as_view(), name="api-restore"),
    path(
        f"{ONE}/restore/<uuid:operation_id>/certificate",
        api.RestoreCertificateView.as_view(),
        name="api-restore-certificate",
    ),
]
