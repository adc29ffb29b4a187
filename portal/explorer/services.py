"""Changing documents and collections for a user: one call to the cluster, one audit fact."""

from dataplane.client.calls import Call, collection_path
from portal.access.types import Access
from portal.audit.services import Facts, audit_record
from portal.clusters.models import Cluster
from portal.explorer.documents import (
    collection_find,
    collection_get,
    collection_options,
    connected,
)
from portal.explorer.errors import ClusterRefused
from portal.explorer.types import SYSTEM_FIELDS, Document, Index, Json, SchemaReport, report_of


def document_create(
    access: Access, cluster: Cluster, *, collection: str, document: Document
) -> str:
    """Create a document and answer its id.

    Raises:
        ClusterRefused: The id is taken, or the document does not fit.
    """
    with connected(cluster) as client:
        created = client.create(collection, _own_fields(document))
    document_id = str(created["_id"])
    place = (collection, document_id)
    _audit_document(access, cluster, "document.created", place, version=created["_version"])
    return document_id


def document_replace(
    access: Access,
    cluster: Cluster,
    *,
    collection: str,
    document_id: str,
    document: Document,
    version: int,
) -> None:
    """Replace a document if it is still at the version the user saw.

    Raises:
        ClusterRefused: With `precondition_failed` when somebody was quicker.
    """
    body = {**_own_fields(document), "_id": document_id}
    with connected(cluster) as client:
        stored = client.put(collection, document_id, body, if_match=version)
    place = (collection, document_id)
    _audit_document(access, cluster, "document.updated", place, version=stored["_version"])


def document_rewind(
    access: Access,
    cluster: Cluster,
    *,
    place: tuple[str, str],
    document: Document,
    present: int | None,
) -> int:
    """Put an older version of a document back, if it is still at the version the user saw.

    `present` is None for a document that is gone: then nobody may have made it anew. Answers the
    new version.

    Raises:
        ClusterRefused: With `precondition_failed` when somebody was quicker.
    """
    body = {**_own_fields(document), "_id": place[1]}
    with connected(cluster) as client:
        stored = client.put(*place, body, if_match=present, absent=present is None)
    version = int(stored["_version"])
    back = document.get("_version")
    _audit_document(access, cluster, "document.rewound", place, version=version, back=back)
    return version


def document_delete(
    access: Access, cluster: Cluster, *, collection: str, document_id: str, version: int | None
) -> Document:
    """Delete a document and answer what it was, so that it can be put back."""
    with connected(cluster) as client:
        document: Document = client.get(collection, document_id)
        client.delete(collection, document_id, if_match=version)
    place = (collection, document_id)
    _audit_document(access, cluster, "document.deleted", place, version=document["_version"])
    return document


def collection_create(access: Access, cluster: Cluster, *, collection: str) -> None:
    """Create an empty collection.

    Raises:
        ClusterRefused: There is one of that name: to create it again would end its options.
    """
    with connected(cluster) as client:
        if collection_find(client, collection) is not None:
            detail = f"There is a collection {collection} already."
            raise ClusterRefused(409, "conflict", detail, {})
        client.collection_put(collection, {})
    _audit(access, cluster, "collection.created", collection=collection)


def collection_schema_put(
    access: Access,
    cluster: Cluster,
    *,
    collection: str,
    schema: Document | None,
    validation: str,
    is_trial: bool,
) -> SchemaReport | None:
    """Store a schema, or only try it; answer how many documents do not fit.

    Raises:
        ClusterRefused: It is no schema that the cluster follows: with pointers.
    """
    with connected(cluster) as client:
        kept = collection_options(client, collection)
        options = {name: kept[name] for name in kept if name not in {"schema", "validation"}}
        if schema is not None:
            options |= {"schema": schema, "validation": validation or "strict"}
        params = {"dry_run": "true"} if is_trial else {}
        path = collection_path(collection)
        answer = client.run(Call("PUT", path, options, params=params, write=True))
    if not is_trial:
        _audit(access, cluster, "collection.schema_set", collection=collection)
    return report_of(answer.get("report"))


def collection_tiering_put(
    access: Access, cluster: Cluster, *, collection: str, tiering: dict[str, int] | None
) -> None:
    """Say after which times the documents of a collection move to lower tiers; None: never.

    Raises:
        ClusterRefused: There is no such collection, or the nodes cannot follow this.
    """
    with connected(cluster) as client:
        kept = collection_get(client, collection).get("options")
        options: Document = dict(kept) if isinstance(kept, dict) else {}
        before = options.pop("tiering", None)
        if tiering is not None:
            options["tiering"] = dict(tiering)
        client.collection_put(collection, options)
    _audit(
        access,
        cluster,
        "collection.tiering_set" if tiering else "collection.tiering_ended",
        collection=collection,
        before=before if isinstance(before, dict) else None,
        after=tiering,
    )


def collection_drop(access: Access, cluster: Cluster, *, collection: str) -> None:
    """Drop a collection with everything in it."""
    with connected(cluster) as client:
        client.collection_drop(collection)
    _audit(access, cluster, "collection.dropped", collection=collection)


def index_create(access: Access, cluster: Cluster, *, collection: str, index: Index) -> None:
    """Make an index; the cluster builds it in the background."""
    with connected(cluster) as client:
        client.index_put(
            collection,
            index.name,
            index.fields,
            unique=index.is_unique,
            sparse=index.is_sparse,
            partial=index.partial,
            expire_after_s=index.expire_after_s,
        )
    place = f"{collection}/{index.name}"
    _audit(access, cluster, "index.created", collection=place)


def index_drop(access: Access, cluster: Cluster, *, collection: str, name: str) -> None:
    """Drop an index."""
    with connected(cluster) as client:
        client.index_drop(collection, name)
    _audit(access, cluster, "index.dropped", collection=f"{collection}/{name}")


def _own_fields(document: Document) -> Document:
    """Leave out what only the cluster may set."""
    return {name: value for name, value in document.items() if name not in SYSTEM_FIELDS}


def _audit(
    access: Access,
    cluster: Cluster,
    action: str,
    *,
    collection: str,
    before: Facts = None,
    after: Facts = None,
) -> None:
    """Record who did what to a collection, or to an index of it."""
    audit_record(
        access_or_actor=access,
        action=action,
        target_type="collection",
        target_id=cluster.pk,
        target_label=f"{cluster.name}: {collection}",
        before=before,
        after=after,
    )


def _audit_document(
    access: Access,
    cluster: Cluster,
    action: str,
    place: tuple[str, str],
    *,
    version: Json,
    back: Json = None,
) -> None:
    """Record who did what to which version of a document; the content stays in the cluster."""
    collection, document_id = place
    facts = {"collection": collection, "id": document_id, "version": version}
    audit_record(
        access_or_actor=access,
        action=action,
        target_type="document",
        # Names of documents are longer than the names of targets may be.
        target_id=cluster.pk,
        target_label=f"{cluster.name}: {collection}/{document_id}",
        after=facts if back is None else {**facts, "of_version": back},
    )
