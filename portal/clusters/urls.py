"""Pages of clusters, below `/o/{slug}/clusters/`."""

from django.urls import path

from portal.clusters import views
from portal.clusters.accountability import views as accountability
from portal.clusters.auditing import views as auditing
from portal.clusters.chaos import views as chaos

app_name = "clusters"
ONE = "<uuid:cluster_id>/"

urlpatterns = [
    path("", views.clusters_page, name="clusters"),
    path("new/", views.cluster_new_page, name="new"),
    path("operations/<uuid:operation_id>/", views.operation_page, name="operation"),
    path(
        "operations/<uuid:operation_id>/cancel/",
        views.operation_cancel_view,
        name="operation-cancel",
    ),
    path(
        "operations/<uuid:operation_id>/retry/", views.operation_retry_view, name="operation-retry"
    ),
    path(ONE, views.cluster_page, name="cluster"),
    path(f"{ONE}state/", views.cluster_fragment, name="state"),
    path(f"{ONE}connect/", views.connect_page, name="connect"),
    path(f"{ONE}connect/ca.pem", views.ca_view, name="ca"),
    path(f"{ONE}connect/anchor.json", views.anchor_view, name="anchor"),
    path(f"{ONE}keys/", views.keys_page, name="keys"),
    path(f"{ONE}keys/<slug:key_id>/revoke/", views.key_revoke_view, name="key-revoke"),
    path(f"{ONE}accountability/", accountability.accountability_page, name="accountability"),
    path(f"{ONE}accountability/<uuid:evidence_id>/", accountability.evidence_page, name="evidence"),
    path(
        f"{ONE}accountability/<uuid:evidence_id>/proof.json",
        accountability.proof_download,
        name="evidence-proof",
    ),
    path(f"{ONE}audit/", auditing.audit_page, name="audit"),
    path(f"{ONE}audit/log.ndjson", auditing.audit_download, name="audit-download"),
    path(f"{ONE}audit/settings/", auditing.audit_settings_view, name="audit-settings"),
    path(f"{ONE}subjects/", auditing.subjects_page, name="subjects"),
    path(f"{ONE}compliance/", auditing.compliance_view, name="compliance"),
    path(f"{ONE}chaos/", chaos.chaos_page, name="chaos"),
    path(f"{ONE}chaos/revert/", chaos.revert_view, name="chaos-revert"),
    path(f"{ONE}chaos/<uuid:experiment_id>/", chaos.experiment_page, name="experiment"),
    path(f"{ONE}sandbox/", chaos.sandbox_view, name="sandbox"),
    path(f"{ONE}operations/", views.operations_page, name="operations"),
    path(f"{ONE}settings/", views.settings_page, name="settings"),
    path(f"{ONE}rename/", views.rename_view, name="rename"),
    path(f"{ONE}delete/", views.delete_view, name="delete"),
    path(f"{ONE}undelete/", views.restore_view, name="undelete"),
    path(f"{ONE}nodes/<int:index>/restart/", views.restart_view, name="restart"),
    path(f"{ONE}keys-of-storage/", views.rotate_view, name="rotate-keys"),
    path("operations/<uuid:operation_id>/erasure.json", views.erasure_view, name="erasure"),
    path(f"{ONE}scale/", views.scale_page, name="scale"),
    path(f"{ONE}nodes/<int:index>/replace/", views.replace_view, name="replace"),
    path(f"{ONE}nodes/<int:index>/log/", views.log_page, name="log"),
]
