"""The blocking client: it tries the nodes in turn and repeats writes without doing them twice."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self, override

import httpx

from dataplane.client import calls
from dataplane.client.anchors import TrustAnchor
from dataplane.client.attempts import (
    AUDIT_PAGE,
    PAGE_LIMIT,
    TIMEOUT_S,
    Attempts,
)
from dataplane.client.calls import Call, Json
from dataplane.client.erasing import Erasing
from dataplane.client.errors import ApiError, ClientError, ClusterUnreachableError
from dataplane.client.feed import SILENCE_S, Feed
from dataplane.client.following import Gathered, learning
from dataplane.client.history_calls import HistoryCalls
from dataplane.client.import_calls import ImportCalls
from dataplane.client.nodes import Nodes
from dataplane.client.reading import ProvenRead


class Client(ImportCalls, HistoryCalls):
    """A blocking client; use it as a context manager, from one thread at a time.

    Every method raises `ApiError` when the cluster refuses and `ClusterUnreachableError` when no
    node answers. Writes carry an idempotency key and are repeated on other nodes by themselves.
    """

    def __init__(
        self,
        urls: Sequence[str],
        token: str,
        *,
        timeout_s: float = TIMEOUT_S,
        anchor: TrustAnchor | None = None,
        follow: bool = True,
    ) -> None:
        """Take the URLs of some nodes, and an API key.

        Unless told not to `follow`, the client learns where the other members are, and goes along
        when they change.
        """
        self._nodes = Nodes(urls, token, anchor=anchor, follow=follow)
        self._anchor = anchor
        self._http = httpx.Client(timeout=timeout_s, trust_env=False)
        self._stream_timeout = httpx.Timeout(timeout_s, read=SILENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, call: Call) -> Any:
        """Make a prepared call, such as the control plane's; return the decoded body."""
        return self._run(call)

    @override
    def _run(self, call: Call, idempotency_key: str | None = None) -> Any:
        attempts = Attempts(self._nodes, call, idempotency_key)
        self._learn()
        for pause_s in attempts.pauses():
            if pause_s:
                time.sleep(pause_s)
            try:
                attempts.answered(self._http.request(**attempts.request()))
            except httpx.HTTPError as error:
                attempts.failed(error)
            if attempts.is_done:
                return attempts.result
            self._learn()
        raise attempts.give_up()

    def _learn(self) -> None:
        """Ask who the members are, when there is a reason to."""
        if not self._nodes.wants_members():
            return
        asking = learning(self._nodes)
        response: httpx.Response | None = None
        with contextlib.suppress(StopIteration):
            while True:
                request = asking.send(response)
                try:
                    response = self._gathered(request)
                except (httpx.HTTPError, httpx.InvalidURL):
                    response = None

    def _gathered(self, request: dict[str, Any]) -> httpx.Response:
        with self._http.stream(**request) as answer:
            gathered = Gathered(answer)
            if gathered.is_plain:
                for part in answer.iter_bytes():
                    if not gathered.add(part):
                        break
            return gathered.response()

    @contextlib.contextmanager
    def _stream(self, call: Call) -> Iterator[tuple[Attempts, httpx.Response]]:
        """Open an answer that is read little by little, at a node that gives one."""
        attempts = Attempts(self._nodes, call, None)
        self._learn()
        for pause_s in attempts.pauses():
            if pause_s:
                time.sleep(pause_s)
            asked = self._http.stream(**attempts.request(), timeout=self._stream_timeout)
            try:
                with asked as response:
                    if response.is_success:
                        attempts.streams(response)
                        yield attempts, response
                        return
                    response.read()
                    attempts.answered(response)
            except httpx.HTTPError as error:
                if attempts.is_done:
                    attempts.broke_off()
                    raise
                attempts.failed(error)
            self._learn()
        raise attempts.give_up()

    # --- Documents ------------------------------------------------------------------------------

    def create(
        self, collection: str, document: Json, *, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        """Create a document under its `_id`, or a new one; return it."""
        document_out: dict[str, Any] = self._run(
            calls.create(collection, document), idempotency_key
        )
        return document_out

    def put(
        self,
        collection: str,
        document_id: str,
        document: Json,
        *,
        if_match: int | None = None,
        absent: bool = False,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Create or replace a document; return it. `if_match` is the version it must have."""
        stored: dict[str, Any] = self._run(
            calls.put(collection, document_id, document, if_match, absent=absent), idempotency_key
        )
        return stored

    def patch(
        self,
        collection: str,
        document_id: str,
        change: Json,
        *,
        if_match: int | None = None,
        operators: bool = False,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Merge a patch into a document, or apply update operators; return the document."""
        stored: dict[str, Any] = self._run(
            calls.patch(collection, document_id, change, if_match, operators=operators),
            idempotency_key,
        )
        return stored

    def get(
        self,
        collection: str,
        document_id: str,
        *,
        consistency: str | None = None,
        proof: bool = False,
    ) -> dict[str, Any]:
        """Read a document, linearizably unless another consistency is named.

        With `proof` it comes with `_proof`. A client that has a trust anchor checks the proof, of
        absence too, and then returns what was proven, whatever the node shows beside it.

        Raises:
            ProofError: The client has an anchor, and the proof does not hold.
        """
        call = calls.get(collection, document_id, consistency, proof=proof)
        found: dict[str, Any]
        if self._anchor is None or not proof:
            found = self._run(call)
            return found
        place = (collection, document_id)
        read = ProvenRead(self._anchor, place, consistency, self._nodes.sequence)
        try:
            found = self._run(call)
        except ApiError as error:
            read.refused(error)
            raise
        return read.answered(found)

    def delete(
        self,
        collection: str,
        document_id: str,
        *,
        if_match: int | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Delete a document."""
        self._run(calls.delete(collection, document_id, if_match), idempotency_key)

    def bulk(
        self, collection: str, operations: Sequence[Json], *, idempotency_key: str | None = None
    ) -> list[dict[str, Any]]:
        """Do up to 1,000 operations; return one result for each, in order."""
        answer = self._run(calls.bulk(collection, operations), idempotency_key)
        results: list[dict[str, Any]] = answer["results"]
        return results

    def transact(
        self, operations: Sequence[Json], *, idempotency_key: str | None = None
    ) -> list[dict[str, Any]]:
        """Do all operations, over any collections, or none; return a result for each.

        Each is `{"op": ..., "collection": ..., "id": ...}`: create, put, patch, update, delete,
        get, or a check of what must hold.

        Raises:
            ApiError: `conflict`; `fields` has the `index` of the operation that failed, and its
                `cause`. Nothing was done.
        """
        answer = self._run(calls.transact(operations), idempotency_key)
        results: list[dict[str, Any]] = answer["results"]
        return results

    def query(self, collection: str, **options: Any) -> dict[str, Any]:
        """Return a page: documents, next, scanned, and plan when `explain` is asked."""
        page: dict[str, Any] = self._run(calls.query(collection, options))
        return page

    def aggregate(
        self,
        collection: str,
        pipeline: Sequence[Json],
        *,
        consistency: str | None = None,
        explain: bool | None = None,
    ) -> dict[str, Any]:
        """Run a pipeline of stages; return documents, scanned, and plan when that is asked."""
        options = {"consistency": consistency, "explain": explain}
        answer: dict[str, Any] = self._run(calls.aggregate(collection, pipeline, options))
        return answer

    def iterate(self, collection: str, **options: Any) -> Iterator[dict[str, Any]]:
        """Yield every document that fits, page by page."""
        after: str | None = None
        while True:
            page = self.query(collection, **{"limit": PAGE_LIMIT, **options, "after": after})
            yield from page["documents"]
            after = page["next"]
            if after is None:
                return

    def changes(
        self,
        *,
        after: str | int | None = None,
        collections: Sequence[str] = (),
        filter: Json | None = None,  # noqa: A002 - as in queries
        documents: bool = True,
    ) -> Iterator[dict[str, Any]]:
        """Yield changes of documents as they are executed, for ever; each with its `place`.

        It begins behind `after`, a `place` or a sequence (0: the beginning), otherwise now. When a
        node falls away it goes on at another one: nothing is left out or told twice.

        Raises:
            ApiError: `resync_required`: what came behind the place is not known any more.
        """
        feed = Feed(after=after, collections=collections, filter=filter, documents=documents)
        while True:
            try:
                with self._stream(feed.call()) as (attempts, response):
                    for chunk in response.iter_bytes():
                        yield from feed.take(chunk)
                    attempts.broke_off()
            except (ClientError, httpx.HTTPError) as error:
                feed.interrupted(error)
            time.sleep(feed.retry_s)

    # --- Conflicts ------------------------------------------------------------------------------

    def conflicts(self, collection: str) -> Iterator[dict[str, Any]]:
        """Yield the kept conflicts of a collection, with both values."""
        after: str | None = None
        while True:
            page = self._run(calls.conflicts(collection, after))
            yield from page["conflicts"]
            after = page["next"]
            if after is None:
                return

    def conflict_get(self, collection: str, conflict_id: str) -> dict[str, Any]:
        """Return a kept conflict, with both values."""
        found: dict[str, Any] = self._run(calls.conflict_get(collection, conflict_id))
        return found

    def conflict_resolve(
        self,
        collection: str,
        conflict_id: str,
        *,
        take: Literal["mine", "theirs"] | None = None,
        document: Json | None = None,
        if_version: int | None = None,
    ) -> dict[str, Any] | None:
        """Settle a conflict by one side or by a document; return the document it leaves.

        `if_version` is the version that is overwritten, when it is not the one of the conflict.
        """
        resolution = {"take": take, "document": document, "if_version": if_version}
        answer = self._run(calls.conflict_resolve(collection, conflict_id, resolution))
        settled: dict[str, Any] | None = answer["document"]
        return settled

    # --- Collections, keys, limits --------------------------------------------------------------

    def collections(self) -> list[dict[str, Any]]:
        """Return the collections the key covers."""
        found: list[dict[str, Any]] = self._run(Call("GET", "/api/v1/collections"))["collections"]
        return found

    def collection_put(self, collection: str, options: Json) -> dict[str, Any]:
        """Create a collection, or give it these options in the place of others."""
        path = calls.collection_path(collection)
        stored: dict[str, Any] = self._run(Call("PUT", path, options, write=True))
        return stored

    def collection_tier(
        self,
        collection: str,
        *,
        cold_after_s: int | None = None,
        archive_after_s: int | None = None,
    ) -> dict[str, Any]:
        """Say after how long documents become cold, or are archived; without either, never.

        The other options of the collection stay.
        """
        known = self.collections()
        options = calls.with_tiering(known, collection, cold_after_s, archive_after_s)
        return self.collection_put(collection, options)

    def collection_drop(self, collection: str) -> None:
        """Drop a collection and all it holds."""
        self._run(Call("DELETE", calls.collection_path(collection), write=True))

    def keys(self) -> list[dict[str, Any]]:
        """Return the cluster's API keys."""
        found: list[dict[str, Any]] = self._run(Call("GET", "/api/v1/keys"))["keys"]
        return found

    def key_put(self, key_id: str, record: Json) -> dict[str, Any]:
        """Create or replace an API key record."""
        stored: dict[str, Any] = self._run(
            Call("PUT", f"/api/v1/keys/{key_id}", record, write=True)
        )
        return stored

    def key_revoke(self, key_id: str) -> None:
        """Revoke an API key on every node."""
        self._run(Call("DELETE", f"/api/v1/keys/{key_id}", write=True))

    def quota_put(self, limits: Json) -> dict[str, Any]:
        """Set the limits of the plan."""
        stored: dict[str, Any] = self._run(Call("PUT", "/api/v1/quota", limits, write=True))
        return stored

    # --- The audit log --------------------------------------------------------------------------

    def audit(self, **options: Any) -> dict[str, Any]:
        """Return a page of the audit log: `records`, `next` (the next `after`), `chain`.

        Options: `since`, `until` (times), `from_`, `to` (sequences), `action`, `actor`,
        `collection`, `limit`, `after`, `order` ("asc" or "desc"), `consistency`, `proof`.
        """
        page: dict[str, Any] = self._run(calls.audit(options))
        return page

    def audit_export(self, *, since: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield every record, and at last the proof of the end: for `verify_audit`."""
        signed = self.audit(limit=1, order="desc", proof=True)
        last, after = signed["chain"]["last"], "0"
        wanted = {"limit": AUDIT_PAGE, "since": since, "consistency": "session"}
        while after is not None:
            page = self.audit(**wanted, after=after)
            for record in page["records"]:
                if record["index"] <= last:
                    yield record
            after = page["next"]
            if page["records"] and page["records"][-1]["index"] >= last:
                break
        yield {"chain": signed["chain"], "proof": signed["proof"]}

    def audit_put(self, **settings: Any) -> dict[str, Any]:
        """Set what is recorded (`level`) and kept (`retention_ms`, `records_max`)."""
        stored: dict[str, Any] = self._run(calls.audit_put(settings))
        return stored

    def compliance(self) -> dict[str, Any]:
        """Return the compliance modes: which are on, what each enforces and would change."""
        found: dict[str, Any] = self._run(Call("GET", "/api/v1/compliance"))
        return found

    def compliance_put(self, **order: Any) -> dict[str, Any]:
        """Set which modes are on (`modes`), or see what that would change (`dry_run=True`)."""
        done: dict[str, Any] = self._run(Call("PUT", "/api/v1/compliance", order, write=True))
        return done

    # --- Persons --------------------------------------------------------------------------------

    def subject_export(self, subject: str | int) -> Iterator[dict[str, Any]]:
        """Yield everything that is stored of a person: `collection` and `document`."""
        after: str | None = None
        while True:
            page = self._run(calls.subject_export(subject, after))
            yield from page["documents"]
            after = page["next"]
            if after is None:
                return

    def subject_erase(self, subject: str | int, *, erasure: str | None = None) -> dict[str, Any]:
        """Remove everything that is stored of a person; return the receipt.

        An erasure that was interrupted goes on when its id is given.

        Raises:
            ErasureWaitsError: Segments hold what was removed, and are not made anew for a while.
        """
        erasing = Erasing(subject, erasure)
        pause_s = erasing.took(self._run(erasing.call()))
        while pause_s is not None:
            time.sleep(pause_s)
            pause_s = erasing.took(self._run(erasing.call()))
        return erasing.receipt

    # --- The cluster ----------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Return totals and live figures of the node that answers."""
        figures: dict[str, Any] = self._run(Call("GET", "/api/v1/stats"))
        return figures

    def nodes(self) -> dict[str, Any]:
        """Return the status of every member."""
        status: dict[str, Any] = self._run(Call("GET", "/api/v1/nodes/status"))
        return status

    def evidence(self, *, cursor: str = "0", limit: int = 50) -> dict[str, Any]:
        """Return a page of the proofs that the node that answers keeps; see `verify_evidence`."""
        page: dict[str, Any] = self._run(calls.evidence(cursor, limit))
        return page

    def ready(self) -> bool:
        """Whether some node serves linearizable requests."""
        try:
            self._run(Call("GET", "/ready", probe=True))
        except (ApiError, ClusterUnreachableError):
            return False
        return True
