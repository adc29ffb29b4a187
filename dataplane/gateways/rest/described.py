"""Collections and totals, with their tiers, for the OpenAPI description."""

from typing import Any, Final

from dataplane.documents.conflicts import POLICIES, REJECT
from dataplane.documents.index_definitions import EXPIRE_MAX_S
from dataplane.documents.settings import ARCHIVE_AFTER, COLD_AFTER, STRICT, VALIDATIONS
from dataplane.gateways.rest.questions import json_content

_INTEGER: Final = {"type": "integer"}
_OBJECT: Final = {"type": "object"}


def _seconds(least: int, told: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": EXPIRE_MAX_S, "description": told}


def _amounts(told: str, **more: Any) -> dict[str, Any]:
    """Return the schema of documents and bytes in a place."""
    return {
        "type": "object",
        "required": ["documents", "bytes"],
        "properties": {"documents": _INTEGER, "bytes": _INTEGER, **more},
        "description": told,
    }


_TIERING: Final = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        COLD_AFTER: _seconds(1, "unchanged so long, a document leaves the disks of single nodes"),
        ARCHIVE_AFTER: _seconds(1, "unchanged so long, it is kept in the archive; the larger one"),
    },
}
COLLECTION_BODY: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "conflict_policy": {"type": "string", "enum": list(POLICIES), "default": REJECT},
        "schema": {"type": "object", "description": "JSON Schema that documents must fit"},
        "validation": {"type": "string", "enum": list(VALIDATIONS), "default": STRICT},
        "ttl": _seconds(0, "after its last write a document is removed"),
        "tiering": _TIERING,
        "subject": {"type": "string", "description": "the field that names a person"},
        "shreddable": {"type": "boolean", "default": False},
    },
}
_CACHE: Final = {
    "hits": _INTEGER,
    "misses": _INTEGER,
    "hit_rate": {"type": ["number", "null"], "description": "null before there was any"},
    "limit": {"type": "integer", "description": "bytes that it may take"},
}
_COLD: Final = {
    "distributed": _amounts("coded over the members"),
    "archive": _amounts("in object storage"),
}
_FIELDS: Final[dict[str, Any]] = {
    "name": {"type": "string"},
    "documents": _INTEGER,
    "bytes": _INTEGER,
    "created": {"type": "string"},
    "updated": {"type": "string"},
    "options": _OBJECT,
    "tiers": {
        "type": "object",
        "description": "of a collection that has a policy, or cold documents",
        "properties": {
            "memory": _amounts("copies that the node asked keeps ready"),
            "ssd": _amounts("whole on the disks of all nodes"),
            **_COLD,
        },
    },
}
COLLECTION: Final = {"type": "object", "required": ["name"], "properties": _FIELDS}
_PUT_ANSWER: Final = {
    **COLLECTION,
    "properties": {
        **_FIELDS,
        "dry_run": {"type": "boolean"},
        "report": {"type": "object", "description": "which documents do not fit the schema"},
    },
}
_COLLECTIONS: Final = {
    "type": "object",
    "required": ["collections"],
    "properties": {"collections": {"type": "array", "items": COLLECTION}},
}
_STATS: Final = {
    "type": "object",
    "required": ["documents", "bytes", "tiers", "collections", "sequence", "view"],
    "properties": {
        "documents": _INTEGER,
        "collections": _INTEGER,
        "sequence": _INTEGER,
        "view": _INTEGER,
        "bytes": {
            "type": "object",
            "properties": {"ssd": _INTEGER, "distributed": _INTEGER, "archive": _INTEGER},
        },
        "tiers": {
            "type": "object",
            "required": ["memory", "ssd", "distributed", "archive"],
            "properties": {
                "memory": _amounts("copies that this node keeps ready", **_CACHE),
                "ssd": _amounts(
                    "whole on the disks of all nodes; `cache` is what this node has of its files",
                    cache={"type": "object", "properties": {"bytes": _INTEGER, **_CACHE}},
                ),
                **_COLD,
            },
        },
    },
}


def describe(paths: dict[str, Any]) -> None:
    """Add bodies and answers to the paths of collections and totals."""
    put = paths["/api/v1/collections/{c}"]["put"]
    put["requestBody"] = {"required": False, "content": json_content(COLLECTION_BODY)}
    for status in ("200", "201"):
        put["responses"][status]["content"] = json_content(_PUT_ANSWER)
    for path, answer in (("collections", _COLLECTIONS), ("stats", _STATS)):
        paths[f"/api/v1/{path}"]["get"]["responses"]["200"]["content"] = json_content(answer)
