"""The documents of a cluster, reached over the network with the portal's own key."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from dataplane.client.client import Client
from dataplane.client.errors import ApiError, ClusterUnreachableError, ProofError
from dataplane.client.proofs import verify_answer
from portal.clusters.connections import admin_client, trust_anchor
from portal.clusters.models import Cluster
from portal.explorer.errors import ClusterRefused
from portal.explorer.types import Document, Json


@dataclass(frozen=True, slots=True)
class Query:
    """What the query box asks for."""

    filter: Document | None = None
    sort: Document | None = None
    projection: list[str] | None = None
    limit: int = 25
    after: str | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One page of documents."""

    documents: list[Document]
    after: str | None
    scanned: int
    plan: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one operation of a bulk."""

    status: int
    code: str | None
    detail: str | None


@contextmanager
def connected(cluster: Cluster) -> Iterator[Client]:
    """Open a connection and turn what the cluster answers into errors of the portal.

    Raises:
        ClusterRefused: The cluster answered an error, or no node answered.
    """
    try:
        with admin_client(cluster) as client:
            yield client
    except ApiError as error:
        raise ClusterRefused(error.status, error.code, error.detail, error.fields) from error
    except ClusterUnreachableError as error:
        detail = "No node of the cluster answers at the moment. Nothing was lost; try again."
        raise ClusterRefused(503, "unreachable", detail, {}) from error


def collections_list(client: Client) -> list[Document]:
    """Answer the collections with counts and bytes, by name."""
    found = client.collections()
    return sorted(found, key=lambda item: str(item.get("name", "")))


def collection_find(client: Client, collection: str) -> Document | None:
    """Answer a collection as the cluster tells it, None when there is none of that name."""
    return next((found for found in client.collections() if found.get("name") == collection), None)


def collection_get(client: Client, collection: str) -> Document:
    """Answer a collection.

    Raises:
        ClusterRefused: There is none of that name.
    """
    found = collection_find(client, collection)
    if found is None:
        raise ClusterRefused(404, "not_found", f"There is no collection {collection}.", {})
    return found


def collection_options(client: Client, collection: str) -> Document:
    """Answer the options of a collection, none for one that is not there."""
    options = (collection_find(client, collection) or {}).get("options")
    return options if isinstance(options, dict) else {}


def query(client: Client, collection: str, asked: Query) -> Page:
    """Answer one page."""
    body = client.query(
        collection,
        filter=asked.filter or {},
        sort=asked.sort,
        projection=asked.projection,
        limit=asked.limit,
        after=asked.after,
        explain=asked.explain,
    )
    return Page(
        documents=list(body["documents"]),
        after=body.get("next"),
        scanned=body.get("scanned", 0),
        plan=body.get("plan"),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of checking a document's proof, in words."""

    is_proven: bool
    text: str


def verify(client: Client, cluster: Cluster, collection: str, document_id: str) -> Verdict:
    """Read a document with its proof, and check that against the keys the portal knows."""
    anchor = trust_anchor(cluster)
    if anchor is None:
        return Verdict(is_proven=False, text="The nodes of the cluster have no keys yet.")
    answer = client.get(collection, document_id, proof=True)
    try:
        proven = verify_answer(msgspec.json.encode(answer), anchor)
    except ProofError as error:
        return Verdict(is_proven=False, text=str(error))
    if (proven.collection, proven.id) != (collection, document_id):
        return Verdict(is_proven=False, text="The node proved another document.")
    return Verdict(is_proven=True, text=proven.in_words())


def proof_get(client: Client, cluster: Cluster, collection: str, document_id: str) -> bytes:
    """Answer, as JSON, what a browser needs to check a document by itself, or its absence.

    Raises:
        ClusterRefused: The cluster has no keys yet.
        ApiError: The node answered neither a document nor a proof that there is none.
    """
    anchor = trust_anchor(cluster)
    if anchor is None:
        detail = "The nodes of the cluster have no keys yet. Try again once they are running."
        raise ClusterRefused(503, "not_ready", detail, {})
    try:
        answer = client.get(collection, document_id, proof=True)
    except ApiError as error:
        if "proof" not in error.fields:
            raise
        answer = {"proof": error.fields["proof"]}
    return msgspec.json.encode({"answer": answer, "anchor": anchor})


def bulk_put(
    client: Client, collection: str, documents: Sequence[Document], *, key: str
) -> list[BulkResult]:
    """Write documents in one bulk; the same key gives the same results again."""
    operations = [
        {"op": "put", "id": document["_id"], "document": document} for document in documents
    ]
    results = client.bulk(collection, operations, idempotency_key=key)
    return [
        BulkResult(
            status=int(result["status"]), code=result.get("code"), detail=result.get("detail")
        )
        for result in results
    ]


def pretty(value: Json) -> str:
    """Print JSON for people: indented, in the order of the cluster."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
