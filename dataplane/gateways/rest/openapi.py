"""The OpenAPI 3.1 description of the REST gateway."""

from typing import Any, Final

import msgspec

from dataplane.documents.errors import COMPLIANCE_CODES
from dataplane.gateways.errors import TITLES
from dataplane.gateways.rest import described
from dataplane.gateways.rest.backups import CHECKPOINT, NOW
from dataplane.gateways.rest.batches import BATCHES_PARAMETERS
from dataplane.gateways.rest.history import HISTORY_ANSWER, HISTORY_PARAMETERS, HISTORY_PATH
from dataplane.gateways.rest.questions import INDEX_BODY, QUESTIONS, json_content
from dataplane.gateways.rest.restores import RESTORE_PARAMETERS
from dataplane.gateways.rest.transactions import TRANSACTION_ANSWER, TRANSACTION_BODY
from dataplane.gateways.services.reads import CONSISTENCIES
from dataplane.wire.proofs import Proof

DOCUMENT_PATH: Final = "/api/v1/collections/{c}/documents/{id}"
SCHEMAS: Final = "#/components/schemas/"
READ_PARAMETERS: Final = [
    {
        "name": "consistency",
        "in": "query",
        "description": "strong: sees every write acknowledged before; session: sees what "
        "Aerolith-After names; bounded: enough nodes agree, Aerolith-Lag says how far it may "
        "lag; local: what this node has executed",
        "schema": {"type": "string", "enum": list(CONSISTENCIES), "default": "strong"},
    },
    {
        "name": "proof",
        "in": "query",
        "description": "adds `_proof`; a 404 carries `proof`: that there is no such document",
        "schema": {"type": "boolean", "default": False},
    },
    {
        "name": "Aerolith-After",
        "in": "header",
        "description": "the newest sequence that the client has seen",
        "schema": {"type": "integer", "minimum": 0},
    },
]
BACKUP_PARAMETERS: Final = [
    {
        "name": "at",
        "in": "query",
        "description": "checkpoint: the last state that a quorum signed anyway, which needs no "
        "other node; what was written after it is not in it",
        "schema": {"type": "string", "enum": [NOW, CHECKPOINT], "default": NOW},
    },
]
READ_ANSWER: Final = {
    "headers": {
        "Aerolith-Sequence": {
            "description": "where in the agreed log the document was so",
            "schema": {"type": "integer"},
        },
        "Aerolith-Lag": {
            "description": "sequences behind the newest; absent from strong reads",
            "schema": {"type": "integer"},
        },
    },
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "_id": {"type": "string"},
                    "_version": {"type": "integer"},
                    "_created": {"type": "string", "format": "date-time"},
                    "_updated": {"type": "string", "format": "date-time"},
                    "_proof": {"$ref": SCHEMAS + "Proof"},
                },
                "additionalProperties": True,
            }
        }
    },
}

type Operation = tuple[str, str, str, tuple[int, ...], tuple[str, ...]]

READ_ERRORS = ("unauthenticated", "forbidden")
DOCUMENT_ERRORS = ("unauthenticated", "forbidden", "not_found", "invalid", "no_quorum")
WRITE_ERRORS = (
    "malformed",
    *DOCUMENT_ERRORS,
    "conflict",
    "precondition_failed",
    "too_large",
    "unsupported_media_type",
    "quota_exceeded",
    "storage_quota_exceeded",
    "audit_full",
)
QUERY_ERRORS = (
    "malformed",
    *DOCUMENT_ERRORS,
    "too_large",
    "unsupported_media_type",
    "quota_exceeded",
    "rate_limited",
    "not_ready",
)

RESTORE_ERRORS = (
    "malformed",
    *DOCUMENT_ERRORS,
    "conflict",
    "too_large",
    "unsupported_media_type",
)
ERASE_ERRORS = (*QUERY_ERRORS, "conflict")

OPERATIONS: tuple[Operation, ...] = (
    ("get", "/health", "Is the process alive", (200,), ()),
    ("get", "/ready", "Can it serve linearizable requests", (200,), ("not_ready",)),
    (
        "get",
        "/identity",
        "A signature that shows which node this is (query: nonce)",
        (200,),
        ("invalid",),
    ),
    ("get", "/metrics", "Prometheus metrics", (200,), ()),
    ("get", "/api/v1/stats", "Totals and live figures", (200,), ("unauthenticated", "forbidden")),
    ("get", "/api/v1/nodes/status", "Every member", (200,), ("unauthenticated", "forbidden")),
    (
        "get",
        "/api/v1/nodes/rejections",
        "What this node refused of its peers, and why (query: after, limit)",
        (200,),
        ("unauthenticated", "forbidden", "invalid"),
    ),
    (
        "get",
        "/api/v1/audit",
        "The audit log (query: since, until, from, to, action, actor, collection, limit, ...)",
        (200,),
        ("unauthenticated", "forbidden", "invalid", "no_quorum", "not_ready"),
    ),
    (
        "put",
        "/api/v1/audit",
        "What the audit log records and how long it is kept",
        (200,),
        ("malformed", *READ_ERRORS, "invalid", "no_quorum"),
    ),
    ("get", "/api/v1/compliance", "Compliance modes", (200,), READ_ERRORS),
    (
        "put",
        "/api/v1/compliance",
        "Set which compliance modes are on",
        (200,),
        ("malformed", *READ_ERRORS, "conflict", "invalid", *COMPLIANCE_CODES, "no_quorum"),
    ),
    ("post", "/api/v1/subjects/export", "What is stored of a person", (200,), QUERY_ERRORS),
    (
        "post",
        "/api/v1/subjects/erase",
        "Remove what is stored of a person",
        (200, 202),
        ERASE_ERRORS,
    ),
    ("get", "/api/v1/erasures/{id}", "An erasure", (200,), (*READ_ERRORS, "not_found")),
    (
        "get",
        "/api/v1/evidence",
        "Proofs that nodes of the cluster lied (query: cursor, limit)",
        (200,),
        ("unauthenticated", "forbidden", "invalid"),
    ),
    (
        "get",
        "/api/v1/encryption",
        "What this node encrypts its disk with, and how far a change of keys is",
        (200,),
        ("unauthenticated", "forbidden"),
    ),
    (
        "post",
        "/api/v1/encryption/rotate",
        "Begin to use a new data key on this node (body: algorithm)",
        (202,),
        ("unauthenticated", "forbidden", "invalid", "conflict"),
    ),
    (
        "get",
        "/api/v1/tombstones",
        "What was erased by destroying its key",
        (200,),
        ("unauthenticated", "forbidden"),
    ),
    (
        "post",
        "/api/v1/tombstones",
        "Order the erasure of the cluster (body: subject, the key; cluster_id, to confirm)",
        (201,),
        ("unauthenticated", "forbidden", "invalid", "no_quorum"),
    ),
    (
        "get",
        "/api/v1/tombstones/{number}",
        "The certificate of an erasure, which proves itself",
        (200,),
        ("unauthenticated", "forbidden", "not_found", "no_quorum"),
    ),
    (
        "get",
        "/api/v1/gateways",
        "Where clients reach the members, with any valid key (query: epoch)",
        (200,),
        ("unauthenticated", "invalid"),
    ),
    (
        "get",
        "/api/v1/changes",
        "Server-sent events of what happens to documents, from a place on",
        (200,),
        (*READ_ERRORS, "invalid", "resync_required", "rate_limited", "not_ready"),
    ),
    ("get", "/api/v1/collections", "Collections", (200,), ("unauthenticated", "forbidden")),
    ("put", "/api/v1/collections/{c}", "Create a collection", (201, 200), WRITE_ERRORS),
    ("delete", "/api/v1/collections/{c}", "Drop a collection", (204,), DOCUMENT_ERRORS),
    (
        "get",
        "/api/v1/collections/{c}/advisor",
        "Shapes of queries this node has seen, indexes that would help, and what others did",
        (200,),
        DOCUMENT_ERRORS,
    ),
    ("get", "/api/v1/collections/{c}/indexes", "Its indexes", (200,), DOCUMENT_ERRORS),
    (
        "get",
        "/api/v1/collections/{c}/indexes/{name}",
        "One index, and how far it is built",
        (200,),
        DOCUMENT_ERRORS,
    ),
    (
        "put",
        "/api/v1/collections/{c}/indexes/{name}",
        "Make an index; it is built in the background",
        (201, 200),
        ("malformed", *DOCUMENT_ERRORS, "conflict", *COMPLIANCE_CODES, "quota_exceeded"),
    ),
    (
        "delete",
        "/api/v1/collections/{c}/indexes/{name}",
        "Drop an index",
        (204,),
        DOCUMENT_ERRORS,
    ),
    ("post", "/api/v1/collections/{c}/documents", "Create a document", (201,), WRITE_ERRORS),
    (
        "put",
        "/api/v1/collections/{c}/documents/{id}",
        "Create or replace a document",
        (201, 200),
        WRITE_ERRORS,
    ),
    (
        "patch",
        "/api/v1/collections/{c}/documents/{id}",
        "Merge patch (RFC 7396) or update operators",
        (200,),
        WRITE_ERRORS,
    ),
    (
        "get",
        "/api/v1/collections/{c}/documents/{id}",
        "Read a document, or prove that there is none",
        (200,),
        (*DOCUMENT_ERRORS, "quota_exceeded", "rate_limited", "audit_backlog", "not_ready"),
    ),
    (
        "get",
        HISTORY_PATH,
        "Recent versions of a document, newest first, and where its history begins",
        (200,),
        (*DOCUMENT_ERRORS, "quota_exceeded", "rate_limited", "audit_backlog", "not_ready"),
    ),
    (
        "delete",
        "/api/v1/collections/{c}/documents/{id}",
        "Delete a document",
        (204,),
        (*DOCUMENT_ERRORS, "precondition_failed"),
    ),
    (
        "post",
        "/api/v1/collections/{c}/bulk",
        "Up to 1,000 operations with a result each",
        (200,),
        WRITE_ERRORS,
    ),
    (
        "get",
        "/api/v1/collections/{c}/conflicts",
        "Refused writes that were kept",
        (200,),
        DOCUMENT_ERRORS,
    ),
    (
        "get",
        "/api/v1/collections/{c}/conflicts/{id}",
        "One of them, with both values",
        (200,),
        DOCUMENT_ERRORS,
    ),
    (
        "post",
        "/api/v1/collections/{c}/conflicts/{id}",
        "Settle a conflict: take mine, theirs, or send a document",
        (200,),
        WRITE_ERRORS,
    ),
    (
        "post",
        "/api/v1/collections/{c}/query",
        "Filter, sort, project and page",
        (200,),
        QUERY_ERRORS,
    ),
    (
        "post",
        "/api/v1/collections/{c}/aggregate",
        "Run a pipeline of stages: match, project, group, sort, limit, skip, unwind, count, lookup",
        (200,),
        QUERY_ERRORS,
    ),
    (
        "post",
        "/api/v1/transactions",
        "Operations on documents of any collections, all of them or none",
        (200,),
        (*(code for code in WRITE_ERRORS if code != "precondition_failed"), "rate_limited"),
    ),
    ("get", "/api/v1/keys", "API keys", (200,), ("unauthenticated", "forbidden")),
    ("put", "/api/v1/keys/{id}", "Create or replace an API key", (201, 200), WRITE_ERRORS),
    ("delete", "/api/v1/keys/{id}", "Revoke an API key on every node", (204,), DOCUMENT_ERRORS),
    ("get", "/api/v1/members", "The epoch and its members", (200,), READ_ERRORS),
    (
        "put",
        "/api/v1/members",
        "The control plane's signed order for the next epoch's members",
        (202,),
        ("malformed", *READ_ERRORS, "invalid", "conflict", "no_quorum", "not_ready"),
    ),
    (
        "get",
        "/api/v1/backup",
        "The state of now, or of the last checkpoint, as a stream that proves itself",
        (200,),
        (*READ_ERRORS, "invalid", "rate_limited", "no_quorum", "not_ready", "restoring"),
    ),
    (
        "post",
        "/api/v1/backup",
        "The same without the subtrees whose digests are sent",
        (200,),
        (
            *READ_ERRORS,
            "invalid",
            "unsupported_media_type",
            "rate_limited",
            "no_quorum",
            "not_ready",
            "restoring",
        ),
    ),
    (
        "get",
        "/api/v1/batches",
        "What was decided after a sequence, with the signatures",
        (200,),
        (*READ_ERRORS, "invalid", "resync_required"),
    ),
    (
        "get",
        "/api/v1/restore",
        "How far a restore is",
        (200,),
        (*READ_ERRORS, "no_quorum"),
    ),
    ("put", "/api/v1/restore", "Begin a restore in parts", (200,), RESTORE_ERRORS),
    ("post", "/api/v1/restore", "Restore a whole backup at once", (200,), RESTORE_ERRORS),
    ("delete", "/api/v1/restore", "Give a restore up", (204,), RESTORE_ERRORS),
    (
        "post",
        "/api/v1/restore/parts",
        "The next part of a restore",
        (200,),
        (*RESTORE_ERRORS, "storage_quota_exceeded"),
    ),
    (
        "post",
        "/api/v1/restore/finish",
        "Let the cluster have what was loaded",
        (200,),
        (*RESTORE_ERRORS, "restore_mismatch"),
    ),
    ("put", "/api/v1/quota", "Set the plan's limits", (200,), WRITE_ERRORS),
)


def openapi_document(server_url: str) -> dict[str, Any]:
    """Return the whole description for a node at `server_url`."""
    paths: dict[str, Any] = {}
    for method, path, summary, successes, codes in OPERATIONS:
        paths.setdefault(path, {})[method] = _operation(path, summary, successes, codes)
    read = paths[DOCUMENT_PATH]["get"]
    read["parameters"] += READ_PARAMETERS
    read["responses"]["200"] |= READ_ANSWER
    for operation in paths["/api/v1/backup"].values():
        operation["parameters"] = BACKUP_PARAMETERS
    paths["/api/v1/batches"]["get"]["parameters"] = BATCHES_PARAMETERS
    for (method, path), parameters in RESTORE_PARAMETERS.items():
        paths[path][method]["parameters"] = parameters
    history = paths[HISTORY_PATH]["get"]
    history["parameters"] += HISTORY_PARAMETERS
    history["responses"]["200"]["content"] = json_content(HISTORY_ANSWER)
    for name, (body, answer) in QUESTIONS.items():
        operation = paths[f"/api/v1/collections/{{c}}/{name}"]["post"]
        operation["requestBody"] = {"required": True, "content": json_content(body)}
        operation["responses"]["200"]["content"] = json_content(answer)
    index = paths["/api/v1/collections/{c}/indexes/{name}"]["put"]
    index["requestBody"] = {"required": True, "content": json_content(INDEX_BODY)}
    described.describe(paths)
    transact = paths["/api/v1/transactions"]["post"]
    transact["requestBody"] = {"required": True, "content": json_content(TRANSACTION_BODY)}
    transact["responses"]["200"]["content"] = json_content(TRANSACTION_ANSWER)
    _, proofs = msgspec.json.schema_components([Proof], ref_template=SCHEMAS + "{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AerolithDB data plane",
            "version": "1",
            "description": "Documents replicated by PBFT. Any node serves all of it.",
        },
        "servers": [{"url": server_url}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _problem_schema(), **proofs},
        },
    }


def _operation(
    path: str, summary: str, successes: tuple[int, ...], codes: tuple[str, ...]
) -> dict[str, Any]:
    responses: dict[str, Any] = {str(s): {"description": "Success"} for s in successes}
    for code in codes:
        status, title = TITLES[code]
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        known = responses.setdefault(str(status), {"description": "", "content": content})
        known["description"] = f"{known['description']} {code}: {title}.".strip()
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    if not path.startswith("/api/"):
        operation["security"] = []
    return operation


def _problem_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string"},
            "code": {"type": "string", "enum": sorted(TITLES)},
        },
    }
