"""What a gateway answers, whatever the protocol: a status, a body, and facts about it."""

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from dataplane.documents.commands import OpResult
from dataplane.documents.conflicts import LAST_WRITER_WINS, MERGE_PATCH
from dataplane.documents.merging import unpack_fields
from dataplane.documents.rendering import timestamp
from dataplane.documents.settings import TIERING_OPTION
from dataplane.documents.types import CollectionRecord, DocumentRecord, KeyRecord
from dataplane.documents.values import unpack_document
from dataplane.gateways.calls import timestamp_ms
from dataplane.gateways.errors import Problem, error_fields

_MET_NAMES: Final = {LAST_WRITER_WINS: "overwrote", MERGE_PATCH: "merged"}

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode

type Facts = list[tuple[str, str]]
"""What is told beside a body, under the names that HTTP headers have."""


@dataclass(slots=True)
class Answer:
    """The outcome of a call that was not refused."""

    status: int
    body: dict[str, Any] | None = None
    """None: there is nothing to say besides."""
    facts: Facts = field(default_factory=list)
    document: bytes | None = None
    """In the place of a body: the JSON of a document, as the memory tier has it."""

    def fields(self) -> dict[str, Any]:
        """Return the body as an object, also where it is text."""
        body = _decode(self.document) if self.body is None and self.document else self.body
        assert body is not None, "something is said"
        return body


def fields_of(document: dict[str, Any] | msgspec.Raw) -> dict[str, Any]:
    """Return a document of the answer to a query as an object."""
    return document if isinstance(document, dict) else _decode(document)


def etag(version: int) -> tuple[str, str]:
    """Return the fact that names a document's version."""
    return ("ETag", f'"{version}"')


def document_body(  # noqa: PLR0917 - the columns of a document
    document_id: str, version: int, created_us: int, updated_us: int, body: bytes
) -> dict[str, Any]:
    """Return a document as clients see it."""
    return {
        "_id": document_id,
        "_version": version,
        "_created": timestamp(created_us),
        "_updated": timestamp(updated_us),
        **unpack_document(body),
    }


def record_body(record: DocumentRecord) -> dict[str, Any]:
    """Return a stored document as clients see it."""
    return document_body(
        record.id, record.version, record.created_us, record.updated_us, record.body
    )


def result_problem(result: OpResult) -> Problem:
    """Return the problem of a refused operation."""
    assert result.code is not None
    fields = error_fields(result.errors)
    if result.version is not None:
        fields["version"] = result.version
    fields |= conflict_fields(result)
    return Problem(result.code, result.detail or "", fields, is_recorded=True)


def conflict_fields(result: OpResult) -> dict[str, Any]:
    """Return what a result says of a conflict: settled by a policy, or not."""
    fields: dict[str, Any] = {}
    if result.policy is not None:
        fields[_MET_NAMES[result.policy]] = result.met
    if result.fields is not None:
        fields["conflicts"] = unpack_fields(result.fields)
    if result.conflict is not None:
        fields["conflict"] = result.conflict
    return fields


def policy_facts(result: OpResult) -> Facts:
    """Return the facts that say which version a policy overwrote or merged with."""
    if result.policy is None:
        return []
    return [(f"Aerolith-{_MET_NAMES[result.policy].capitalize()}", str(result.met))]


def result_body(result: OpResult, document: bytes) -> dict[str, Any]:
    """Return the document a successful operation left behind."""
    assert result.id is not None
    assert result.version is not None
    assert result.created_us is not None
    assert result.updated_us is not None
    return document_body(result.id, result.version, result.created_us, result.updated_us, document)


def item_body(result: OpResult, *, with_document: bool = False) -> dict[str, Any]:
    """Return one result of a bulk request, with the document where it is wanted or merged."""
    item: dict[str, Any] = {"status": result.status}
    if result.id is not None:
        item["id"] = result.id
    if result.version is not None:
        item["version"] = result.version
    if result.code is not None:
        item["code"] = result.code
        item["detail"] = result.detail
        item |= error_fields(result.errors)
    item |= conflict_fields(result)
    if (with_document or result.policy == MERGE_PATCH) and result.document is not None:
        item["document"] = unpack_document(result.document)
    return item


def collection_body(record: CollectionRecord) -> dict[str, Any]:
    """Return a collection as clients see it; tiers are shown of one that may have several."""
    options = unpack_document(record.options)
    elsewhere = {"distributed": record.distributed, "archive": record.archived}
    cold_documents, cold_bytes = map(sum, zip(*elsewhere.values(), strict=True))
    ssd = record.documents - cold_documents, record.bytes - cold_bytes
    tiers = {"memory": record.memory, "ssd": ssd, **elsewhere}
    shown = {
        name: {"documents": documents, "bytes": size} for name, (documents, size) in tiers.items()
    }
    return {
        "name": record.name,
        "documents": record.documents,
        "bytes": record.bytes,
        "created": timestamp(record.created_us),
        "updated": timestamp(record.updated_us),
        "options": options,
        **({"tiers": shown} if TIERING_OPTION in options or cold_documents else {}),
    }


def key_body(record: KeyRecord) -> dict[str, Any]:
    """Return an API key without its hash."""
    return {
        "id": record.id,
        "name": record.name,
        "scopes": record.scopes,
        "collections": record.collections,
        "kind": record.kind,
        "requests_per_s": record.requests_per_s,
        "expires": None if record.expires_ms is None else timestamp_ms(record.expires_ms),
        "created": timestamp(record.created_us),
    }
