"""API paths of clusters and operations, below `/orgs/{slug}/`."""

from django.urls import path

from portal.clusters import api
from portal.clusters import token_api as tokens
from portal.clusters.accountability.api import EvidenceView
from portal.clusters.auditing import api as auditing
from portal.clusters.chaos import api as chaos

ONE = "clusters/<uuid:cluster_id>"

urlpatterns = [
    path("clusters", api.ClustersView.as_view(), name="api-clusters"),
    path("clusters/estimate", api.EstimateView.as_view(), name="api-estimate"),
    path(ONE, api.ClusterView.as_view(), name="api-cluster"),
    path(f"{ONE}/estimate", api.ClusterEstimateView.as_view(), name="api-cluster-estimate"),
    path(f"{ONE}/restart", api.RestartView.as_view(), name="api-cluster-restart"),
    path(f"{ONE}/rotate-keys", api.RotateView.as_view(), name="api-cluster-rotate-keys"),
    path(f"{ONE}/scale", api.ScaleView.as_view(), name="api-cluster-scale"),
    path(f"{ONE}/undelete", api.RestoreView.as_view(), name="api-cluster-undelete"),
    path(f"{ONE}/nodes", api.NodesView.as_view(), name="api-nodes"),
    path(f"{ONE}/nodes/<int:index>/log", api.NodeLogView.as_view(), name="api-node-log"),
    path(f"{ONE}/audit", auditing.ClusterAuditView.as_view(), name="api-cluster-audit"),
    path(
        f"{ONE}/audit.ndjson",
        auditing.ClusterAuditFileView.as_view(),
        name="api-cluster-audit-file",
    ),
    path(
        f"{ONE}/audit/verify",
        auditing.ClusterAuditCheckView.as_view(),
        name="api-cluster-audit-verify",
    ),
    path(
        f"{ONE}/audit/settings",
        auditing.ClusterAuditSettingsView.as_view(),
        name="api-cluster-audit-settings",
    ),
    path(f"{ONE}/compliance", auditing.ComplianceView.as_view(), name="api-compliance"),
    path(f"{ONE}/subjects/export", auditing.SubjectExportView.as_view(), name="api-subject-export"),
    path(f"{ONE}/subjects/erase", auditing.SubjectErasureView.as_view(), name="api-subject-erase"),
    path(f"{ONE}/evidence", EvidenceView.as_view(), name="api-evidence"),
    path(f"{ONE}/chaos", chaos.ExperimentsView.as_view(), name="api-experiments"),
    path(
        f"{ONE}/chaos/<uuid:experiment_id>", chaos.ExperimentView.as_view(), name="api-experiment"
    ),
    path(
        f"{ONE}/chaos/<uuid:experiment_id>/timeline",
        chaos.TimelineView.as_view(),
        name="api-timeline",
    ),
    path(f"{ONE}/chaos/<uuid:experiment_id>/revert", chaos.RevertView.as_view(), name="api-revert"),
    path(f"{ONE}/sandbox", chaos.SandboxView.as_view(), name="api-sandbox"),
    path(f"{ONE}/nodes/<int:index>/replace", api.ReplaceView.as_view(), name="api-node-replace"),
    path(f"{ONE}/connection", api.ConnectionView.as_view(), name="api-connection"),
    path(f"{ONE}/connection/anchor", api.AnchorView.as_view(), name="api-anchor"),
    path(f"{ONE}/token", tokens.TokenView.as_view(), name="api-token"),
    path(f"{ONE}/token/rotate", tokens.TokenKeyView.as_view(), name="api-token-key"),
    path(
        f"{ONE}/token/<slug:token_id>",
        tokens.TokenRevocationView.as_view(),
        name="api-token-revocation",
    ),
    path(f"{ONE}/keys", api.KeysView.as_view(), name="api-keys"),
    path(f"{ONE}/keys/<slug:key_id>", api.KeyView.as_view(), name="api-key"),
    path("operations", api.OperationsView.as_view(), name="api-operations"),
    path("operations/<uuid:operation_id>", api.OperationView.as_view(), name="api-operation"),
    path(
        "operations/<uuid:operation_id>/cancel",
        api.OperationCancelView.as_view(),
        name="api-operation-cancel",
    ),
    path(
        "operations/<uuid:operation_id>/retry",
        api.OperationRetryView.as_view(),
        name="api-operation-retry",
    ),
]
