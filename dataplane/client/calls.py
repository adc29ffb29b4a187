"""The requests a client makes, without the making of them: shared by both clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from dataplane.client.errors import ApiError
from dataplane.client.refusals import refusal_of

UPDATE_TYPE: Final = "application/vnd.aerolith.update+json"
MERGE_PATCH_TYPE: Final = "application/merge-patch+json"

type Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `write` ones carry an idempotency key and so may be repeated.

    A `probe` asks each node at most once.
    """

    method: str
    path: str
    body: Json | None = None
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    write: bool = False
    probe: bool = False
    content_type: str = "application/json"
    data: bytes | None = None
    """A body that is not JSON."""

    def content(self) -> bytes | None:
        """Return the body as bytes."""
        if self.data is not None:
            return self.data
        return None if self.body is None else msgspec.json.encode(self.body)


def _segment(text: str) -> str:
    # Bare dots would be taken for steps in the path: to delete `..` would drop the collection.
    return text.replace(".", "%2E") if text in {".", ".."} else quote(text, safe="")


def collection_path(collection: str) -> str:
    """Return the path of a collection."""
    return f"/api/v1/collections/{_segment(collection)}"


def with_tiering(
    collections: Sequence[Json], name: str, cold_after_s: int | None, archive_after_s: int | None
) -> Json:
    """Return the options of a collection with another policy of tiers, or none."""
    found = (known["options"] for known in collections if known["name"] == name)
    options = {key: value for key, value in next(found, {}).items() if key != "tiering"}
    spans = {"cold_after_s": cold_after_s, "archive_after_s": archive_after_s}
    tiering = {key: seconds for key, seconds in spans.items() if seconds is not None}
    return options | ({"tiering": tiering} if tiering else {})


def document_path(collection: str, document_id: str) -> str:
    """Return the path of a document."""
    return f"{collection_path(collection)}/documents/{_segment(document_id)}"


def _conditions(if_match: int | None, *, absent: bool = False) -> dict[str, str]:
    headers = {} if if_match is None else {"If-Match": f'"{if_match}"'}
    if absent:
        headers["If-None-Match"] = "*"
    return headers


def create(collection: str, document: Json) -> Call:
    """Create a document."""
    return Call("POST", f"{collection_path(collection)}/documents", document, write=True)


def put(
    collection: str, document_id: str, document: Json, if_match: int | None, *, absent: bool
) -> Call:
    """Create or replace a document."""
    headers = _conditions(if_match, absent=absent)
    return Call("PUT", document_path(collection, document_id), document, headers, write=True)


def patch(
    collection: str, document_id: str, change: Json, if_match: int | None, *, operators: bool
) -> Call:
    """Change a document by merge patch, or by update operators."""
    return Call(
        "PATCH",
        document_path(collection, document_id),
        change,
        _conditions(if_match),
        write=True,
        content_type=UPDATE_TYPE if operators else MERGE_PATCH_TYPE,
    )


def get(collection: str, document_id: str, consistency: str | None, *, proof: bool = False) -> Call:
    """Read a document."""
    params = {} if consistency is None else {"consistency": consistency}
    if proof:
        params["proof"] = "true"
    return Call("GET", document_path(collection, document_id), params=params)


def history(
    place: tuple[str, str],
    before: str | None,
    limit: int,
    *,
    documents: bool,
    consistency: str | None,
) -> Call:
    """Read recent versions of a document."""
    params = {
        "limit": str(limit),
        "before": before,
        "include": None if documents else "none",
        "consistency": consistency,
    }
    given = {name: value for name, value in params.items() if value is not None}
    return Call("GET", f"{document_path(*place)}/history", params=given)


def delete(collection: str, document_id: str, if_match: int | None) -> Call:
    """Delete a document."""
    headers = _conditions(if_match)
    return Call("DELETE", document_path(collection, document_id), headers=headers, write=True)


def bulk(collection: str, operations: Sequence[Json]) -> Call:
    """Do up to 1,000 operations."""
    body = {"operations": list(operations)}
    return Call("POST", f"{collection_path(collection)}/bulk", body, write=True)


def indexes(collection: str) -> Call:
    """List indexes."""
    return Call("GET", f"{collection_path(collection)}/indexes")


def advice(collection: str) -> Call:
    """Ask a node which queries it has seen, and which indexes would help."""
    return Call("GET", f"{collection_path(collection)}/advisor")


def index_put(collection: str, name: str, definition: Json) -> Call:
    """Make an index; options that are None are left out."""
    body = {option: value for option, value in definition.items() if value is not None}
    return Call("PUT", _index_path(collection, name), body, write=True)


def index_get(collection: str, name: str) -> Call:
    """Read an index."""
    return Call("GET", _index_path(collection, name))


def index_drop(collection: str, name: str) -> Call:
    """Drop an index."""
    return Call("DELETE", _index_path(collection, name), write=True)


def _index_path(collection: str, name: str) -> str:
    return f"{collection_path(collection)}/indexes/{_segment(name)}"


def transact(operations: Sequence[Json]) -> Call:
    """Do all operations or none."""
    return Call("POST", "/api/v1/transactions", {"operations": list(operations)}, write=True)


def conflicts(collection: str, after: str | None) -> Call:
    """List kept conflicts."""
    params = {} if after is None else {"after": after}
    return Call("GET", f"{collection_path(collection)}/conflicts", params=params)


def conflict_get(collection: str, conflict_id: str) -> Call:
    """Read a kept conflict."""
    return Call("GET", f"{collection_path(collection)}/conflicts/{_segment(conflict_id)}")


def conflict_resolve(collection: str, conflict_id: str, resolution: Json) -> Call:
    """Settle a conflict; fields that are None are left out."""
    body = {name: value for name, value in resolution.items() if value is not None}
    path = f"{collection_path(collection)}/conflicts/{_segment(conflict_id)}"
    return Call("POST", path, body, write=True)


def query(collection: str, options: Json) -> Call:
    """Run a query; options that are None are left out."""
    body = {name: value for name, value in options.items() if value is not None}
    return Call("POST", f"{collection_path(collection)}/query", body)


def aggregate(collection: str, pipeline: Sequence[Json], options: Json) -> Call:
    """Run a pipeline; options that are None are left out."""
    body = {"pipeline": list(pipeline)}
    body |= {name: value for name, value in options.items() if value is not None}
    return Call("POST", f"{collection_path(collection)}/aggregate", body)


def evidence(cursor: str, limit: int) -> Call:
    """List proofs that nodes lied."""
    return Call("GET", "/api/v1/evidence", params={"cursor": cursor, "limit": str(limit)})


def audit(options: Json) -> Call:
    """List records of the audit log; options that are None are left out."""
    params = {
        name.rstrip("_"): "true" if value is True else str(value)
        for name, value in options.items()
        if value is not None and value is not False
    }
    return Call("GET", "/api/v1/audit", params=params)


def audit_put(settings: Json) -> Call:
    """Change what the audit log records; settings that are None stay as they are."""
    body = {name: value for name, value in settings.items() if value is not None}
    return Call("PUT", "/api/v1/audit", body, write=True)


def subject_export(subject: str | int, after: str | None) -> Call:
    """Ask for a page of what is stored of a person."""
    return Call("POST", "/api/v1/subjects/export", {"subject": subject, "after": after})


def subject_erase(subject: str | int, erasure: str | None) -> Call:
    """Remove some of what is stored of a person."""
    return Call("POST", "/api/v1/subjects/erase", {"subject": subject, "erasure": erasure})


def problem_of(response: httpx.Response) -> ApiError:
    """Return the error of an unsuccessful response."""
    try:
        fields = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.DecodeError:
        fields = {}
    code = str(fields.get("code", "unknown"))
    detail = str(fields.get("detail", response.reason_phrase))
    error = refusal_of(response.status_code, code, detail, fields)
    wait = response.headers.get("retry-after", "")
    error.retry_after_s = int(wait) if wait.isascii() and wait.isdigit() else None
    return error


def result_of(response: httpx.Response) -> Any:
    """Return the decoded body of a response, or the body as it is when it is not JSON.

    Raises:
        ApiError: The node refused.
    """
    if not response.is_success:
        raise problem_of(response)
    if "json" not in response.headers.get("content-type", "json"):
        return response.content
    return msgspec.json.decode(response.content) if response.content else None
