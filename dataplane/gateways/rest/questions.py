"""The bodies of queries and aggregations, for the OpenAPI description."""

from typing import Any, Final

from dataplane.query.pipeline import STAGE_NAMES, STAGES_MAX
from dataplane.query.types import LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX

_CONSISTENCY: Final = {
    "type": "string",
    "enum": ["strong", "session", "local"],
    "default": "strong",
}
_EXPLAIN: Final = {
    "type": "boolean",
    "default": False,
    "description": "add `plan`: how the documents were found, how many were looked at, time",
}
_ORDER: Final = {
    "type": "object",
    "maxProperties": 8,
    "additionalProperties": {"type": "integer", "enum": [1, -1]},
    "description": "dotted paths, the most significant first; ties go by _id",
}
TIERS: Final = ("memory", "ssd", "distributed", "archive")
PLAN_STAGES: Final = (
    "id_lookup",
    "id_range",
    "index_scan",
    "index_union",
    "collection_scan",
    "collection_count",
)
_PLAN: Final = {
    "type": "object",
    "properties": {
        "stage": {"type": "string", "enum": list(PLAN_STAGES)},
        "order": {"type": "string", "enum": ["id_order", "index_order", "top_k"]},
        "index": {"type": "string"},
        "indexes": {"type": "array", "items": {"type": "object"}},
        "bounds": {"type": "array", "items": {"type": "object"}},
        "choice": {"type": "string", "enum": ["new", "cached"]},
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"index": {"type": "string"}, "reason": {"type": "string"}},
            },
        },
        "suited": {
            "type": "object",
            "description": "of a scan: fields of the index that would suit the query best",
            "additionalProperties": {"type": "integer", "enum": [1, -1]},
        },
        "keys_examined": {"type": "integer"},
        "documents_examined": {"type": "integer"},
        "returned": {"type": "integer"},
        "compiled": {"type": "string", "enum": ["new", "cached"]},
        "time_ms": {"type": "number"},
        "tiers": {
            "type": "object",
            "description": "documents by where they came from: ssd, distributed and archive are of "
            "those that were looked at, memory of those that are returned",
            "properties": {name: {"type": "integer"} for name in TIERS},
        },
        "segments": {
            "type": "object",
            "description": "of cold documents: needed, fetched since they were not in memory, and "
            "how long the question waited for them",
            "properties": {
                "needed": {"type": "integer"},
                "fetched": {"type": "integer"},
                "wait_ms": {"type": "number"},
            },
        },
    },
}
_DOCUMENTS: Final = {"type": "array", "items": {"type": "object"}}

QUERY_BODY: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "filter": {"type": "object", "description": "fields and operators as in MongoDB"},
        "sort": _ORDER,
        "projection": {"type": "array", "items": {"type": "string"}, "maxItems": 200},
        "limit": {
            "type": "integer",
            "minimum": 1,
            "maximum": LIMIT_MAX,
            "default": LIMIT_DEFAULT,
        },
        "offset": {"type": "integer", "minimum": 0, "maximum": OFFSET_MAX, "default": 0},
        "after": {"type": ["string", "null"], "description": "the `next` of the page before"},
        "consistency": _CONSISTENCY,
        "explain": _EXPLAIN,
    },
}
QUERY_ANSWER: Final = {
    "type": "object",
    "required": ["documents", "next", "scanned"],
    "properties": {
        "documents": _DOCUMENTS,
        "next": {"type": ["string", "null"]},
        "scanned": {"type": "integer"},
        "plan": _PLAN,
    },
}
AGGREGATE_BODY: Final = {
    "type": "object",
    "additionalProperties": False,
    "required": ["pipeline"],
    "properties": {
        "pipeline": {
            "type": "array",
            "maxItems": STAGES_MAX,
            "items": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "propertyNames": {"enum": list(STAGE_NAMES)},
            },
        },
        "consistency": _CONSISTENCY,
        "explain": _EXPLAIN,
    },
}
AGGREGATE_ANSWER: Final = {
    "type": "object",
    "required": ["documents", "scanned"],
    "properties": {"documents": _DOCUMENTS, "scanned": {"type": "integer"}, "plan": _PLAN},
}
INDEX_BODY: Final = {
    "type": "object",
    "required": ["fields"],
    "additionalProperties": False,
    "properties": {
        "fields": {**_ORDER, "minProperties": 1, "description": "dotted paths, in order"},
        "unique": {"type": "boolean", "default": False},
        "sparse": {
            "type": "boolean",
            "default": False,
            "description": "leave out documents that have none of the fields",
        },
        "partial": {
            "type": "object",
            "description": "only documents that fit: $eq $in $gt $gte $lt $lte $exists $type $and",
        },
        "expire_after_s": {
            "type": "integer",
            "minimum": 0,
            "description": "remove documents so long after the date in the one field",
        },
    },
}
QUESTIONS: Final = {
    "query": (QUERY_BODY, QUERY_ANSWER),
    "aggregate": (AGGREGATE_BODY, AGGREGATE_ANSWER),
}
"""Last part of the path -> schemas of body and answer."""


def json_content(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a JSON body."""
    return {"application/json": {"schema": schema}}
