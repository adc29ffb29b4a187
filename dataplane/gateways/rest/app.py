"""The routes of the REST gateway: authenticate, count, dispatch, refuse with problems."""

import time
from collections.abc import Awaitable, Callable

from dataplane.gateways.auth import CALLING, Caller
from dataplane.gateways.context import LAG_HEADER, SEQUENCE_HEADER, Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest import (
    audit,
    backups,
    batches,
    changes,
    cluster,
    compliance,
    conflicts,
    documents,
    encryption,
    evidence,
    gateways,
    history,
    indexes,
    members,
    pages,
    queries,
    rejections,
    restores,
    subjects,
    tombstones,
    transactions,
)
from dataplane.gateways.rest.audit import recorded, seen_of
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.responses import problem_response
from dataplane.gateways.serving import entered, foreseen, traced
from dataplane.gateways.tracing import TRACE, trace_of

PREFIX = "/api/v1/"

type Work = Callable[[], Awaitable[Response]]
type Plain = Callable[[Context, Request, Caller], Awaitable[Response]]
type Named = Callable[[Context, Request, Caller, str], Awaitable[Response]]
type Placed = Callable[[Context, Request, Caller, tuple[str, str]], Awaitable[Response]]

PLAIN: dict[tuple[str, ...], dict[str, tuple[str, Plain]]] = {
    ("stats",): {"GET": ("", cluster.stats)},
    ("nodes", "status"): {"GET": ("", cluster.nodes_status)},
    ("nodes", "rejections"): {"GET": ("", rejections.rejections_list)},
    ("encryption",): {"GET": ("", encryption.encryption_show)},
    ("encryption", "rotate"): {
        "POST": ("", recorded("encryption.rotate", encryption.encryption_rotate))
    },
    ("audit",): {
        "GET": ("", recorded("audit.read", audit.audit_list)),
        "PUT": ("", audit.audit_put),
    },
    ("compliance",): {
        "GET": ("", compliance.compliance_show),
        "PUT": ("", compliance.compliance_put),
    },
    ("subjects", "export"): {"POST": ("query", subjects.subject_export)},
    ("subjects", "erase"): {"POST": ("delete", subjects.subject_erase)},
    ("tombstones",): {
        "GET": ("", tombstones.tombstones_list),
        "POST": ("", tombstones.cluster_erase),
    },
    ("evidence",): {"GET": ("", evidence.evidence_list)},
    ("gateways",): {"GET": ("", gateways.gateways_list)},
    ("changes",): {"GET": ("read", recorded("changes.read", changes.changes))},
    ("collections",): {"GET": ("read", cluster.collections_list)},
    ("keys",): {"GET": ("", recorded("key.read", cluster.keys_list))},
    ("members",): {
        "GET": ("", members.members_list),
        "PUT": ("", members.members_put),
    },
    ("backup",): {
        "GET": ("", recorded("backup.read", backups.backup)),
        "POST": ("", recorded("backup.read", backups.backup)),
    },
    ("batches",): {"GET": ("", recorded("batch.read", batches.batches_list))},
    ("restore",): {
        "GET": ("", restores.restore_read),
        "PUT": ("", restores.restore_begin),
        "POST": ("", restores.restore_whole),
        "DELETE": ("", restores.restore_discard),
    },
    ("restore", "parts"): {"POST": ("", restores.restore_part)},
    ("restore", "finish"): {"POST": ("", restores.restore_finish)},
    ("transactions",): {"POST": ("write", transactions.transact)},
    ("quota",): {"PUT": ("", cluster.quota_put)},
}
"""path -> method -> (class that counts against the plan, or none; handler)."""

NAMED: dict[tuple[str, ...], dict[str, tuple[str, Named]]] = {
    ("collections", "*"): {
        "PUT": ("admin", cluster.collection_put),
        "DELETE": ("", cluster.collection_drop),
    },
    ("collections", "*", "documents"): {"POST": ("write", documents.create)},
    ("collections", "*", "advisor"): {"GET": ("read", indexes.advice)},
    ("collections", "*", "indexes"): {"GET": ("read", indexes.indexes_list)},
    ("collections", "*", "conflicts"): {
        "GET": ("read", recorded("conflict.read", conflicts.conflicts_list))
    },
    ("collections", "*", "bulk"): {"POST": ("write", documents.bulk)},
    ("collections", "*", "query"): {"POST": ("query", queries.query)},
    ("collections", "*", "aggregate"): {"POST": ("query", queries.aggregate)},
    ("erasures", "*"): {"GET": ("", subjects.erasure_show)},
    ("tombstones", "*"): {"GET": ("", tombstones.tombstone_read)},
    ("keys", "*"): {"PUT": ("", cluster.key_put), "DELETE": ("", cluster.key_revoke)},
}

PLACED: dict[str, dict[str, tuple[str, Placed]]] = {
    # What is of one document or the like: its kind, and what is asked of it behind its name.
    "documents": {
        "GET": ("read", documents.read),
        "PUT": ("write", documents.put),
        "PATCH": ("write", documents.patch),
        "DELETE": ("delete", documents.delete),
    },
    "documents/history": {"GET": ("query", history.document_history)},
    "indexes": {
        "GET": ("read", indexes.index_read),
        "PUT": ("admin", indexes.index_put),
        "DELETE": ("", indexes.index_drop),
    },
    "conflicts": {
        "GET": ("read", recorded("conflict.read", conflicts.conflict_read)),
        "POST": ("write", conflicts.conflict_resolve),
    },
}


class RestApp:
    """Answers requests of clients."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def __call__(self, request: Request) -> Response:
        """Answer one request; every failure becomes a problem."""
        context = self._context
        began = time.perf_counter()
        call_class = "other"
        CALLING.set(None)
        TRACE.set(trace_of(request.headers.get("traceparent")))
        try:
            page = pages.page_for(context, request)
            if page is not None:
                return page
            asked_class, caller, work = self._dispatch(request)
            with entered(context, caller, asked_class, lambda: seen_of(request)):
                call_class = asked_class
                response = await work()
        except Exception as error:  # noqa: BLE001 - the last line before the client
            response = self.failure(error, request.path)
        seconds = time.perf_counter() - began
        context.figures.observe(call_class or "admin", response.status, seconds)
        if TRACE.get() is not None:
            traced(context, _shape(request), response.status, seconds)
        told = [name for name, _ in response.headers]
        if SEQUENCE_HEADER not in told and request.path.startswith(PREFIX):
            response.headers.extend(context.position(context.cluster.executed))
        if LAG_HEADER in told:
            response.headers.extend(context.age())
        response.headers.append(("Server-Timing", f"node;dur={seconds * 1000:.3f}"))
        return response

    def failure(self, error: Exception, path: str) -> Response:
        """Return the problem for an error; what nobody foresaw is logged and answered as 500."""
        return problem_response(foreseen(error), path)

    def refuse(self, code: str, detail: str, path: str) -> Response:
        """Return the problem for bytes that never became a request."""
        return problem_response(Problem(code, detail), path)

    def _dispatch(self, request: Request) -> tuple[str, Caller, Work]:
        """Return the class of the request, who asks, and what answers it."""
        context = self._context
        if not request.path.startswith(PREFIX):
            raise Problem("not_found", f"nothing at {request.path}")
        parts = tuple(request.path[len(PREFIX) :].split("/"))
        caller = context.admission.caller_of(request.headers.get("authorization"))
        kind = "/".join(parts[2::2])
        if len(parts) in {4, 5} and parts[0] == "collections" and kind in PLACED:
            placed_class, placed = _by_method(PLACED[kind], request)
            place = parts[1], parts[3]
            return placed_class, caller, lambda: placed(context, request, caller, place)
        if parts in PLAIN:
            plain_class, plain = _by_method(PLAIN[parts], request)
            return plain_class, caller, lambda: plain(context, request, caller)
        shape = (parts[0], "*", *parts[2:]) if len(parts) > 1 else parts
        if shape not in NAMED:
            raise Problem("not_found", f"nothing at {request.path}")
        named_class, named = _by_method(NAMED[shape], request)
        return named_class, caller, lambda: named(context, request, caller, parts[1])


def _shape(request: Request) -> str:
    """Return the method and the path without names: what a span may be called."""
    parts = request.path.split("/")
    parts[4::2] = ["*"] * len(parts[4::2])
    return f"{request.method} {'/'.join(parts)}"


def _by_method[H](handlers: dict[str, tuple[str, H]], request: Request) -> tuple[str, H]:
    method = "GET" if request.method == "HEAD" else request.method
    if method not in handlers:
        allowed = ", ".join(sorted(handlers))
        raise Problem("method_not_allowed", f"use {allowed}", headers=(("Allow", allowed),))
    return handlers[method]
