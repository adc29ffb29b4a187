"""Pages of the explorer, below `/o/{slug}/clusters/{id}/data/`."""

from django.urls import path

from portal.explorer import (
    history_views,
    import_views,
    index_views,
    schema_views,
    tier_views,
    views,
)

app_name = "explorer"
urlpatterns = [
    path("", views.collections_page, name="collections"),
    path("tiers/", tier_views.tiers_fragment, name="tiers"),
    path("new/", views.collection_create_view, name="collection-create"),
    path("imports/new/", import_views.import_new_page, name="import-new"),
    path("imports/<uuid:job_id>/", import_views.import_page, name="import"),
    path(
        "imports/<uuid:job_id>/progress/", import_views.import_progress_view, name="import-progress"
    ),
    path("imports/<uuid:job_id>/cancel/", import_views.import_cancel_view, name="import-cancel"),
    path("imports/<uuid:job_id>/resume/", import_views.import_resume_view, name="import-resume"),
    path("c/<slug:collection>/", views.documents_page, name="documents"),
    path("c/<slug:collection>/new/", views.document_new_page, name="document-new"),
    path("c/<slug:collection>/document/", views.document_page, name="document"),
    path("c/<slug:collection>/document/proof/", views.document_proof_view, name="document-proof"),
    path(
        "c/<slug:collection>/document/delete/", views.document_delete_view, name="document-delete"
    ),
    path(
        "c/<slug:collection>/document/restore/",
        views.document_restore_view,
        name="document-restore",
    ),
    path("c/<slug:collection>/document/history/", history_views.history_page, name="history"),
    path(
        "c/<slug:collection>/document/history/rewind/",
        history_views.document_rewind_view,
        name="document-rewind",
    ),
    path("c/<slug:collection>/schema/", schema_views.schema_page, name="schema"),
    path("c/<slug:collection>/storage/", tier_views.storage_page, name="storage"),
    path("c/<slug:collection>/indexes/", index_views.indexes_page, name="indexes"),
    path("c/<slug:collection>/indexes/new/", index_views.index_create_view, name="index-create"),
    path("c/<slug:collection>/indexes/drop/", index_views.index_drop_view, name="index-drop"),
    path("c/<slug:collection>/drop/", views.collection_drop_view, name="collection-drop"),
    path("c/<slug:collection>/export/", import_views.export_view, name="export"),
]
