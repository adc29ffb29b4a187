"""Clients of a cluster: they try its nodes in turn and repeat writes without doing them twice."""

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

import httpx

from dataplane.client import calls
from dataplane.client.calls import Call, Json
from dataplane.client.errors import ApiError, ClusterUnreachableError

TIMEOUT_S: Final = 10.0
ATTEMPTS_PER_NODE: Final = 2
REPEATABLE_CODES: Final = frozenset({"no_quorum", "not_ready", "rate_limited"})
PAGE_LIMIT: Final = 500


class _Nodes:
    """The nodes of a cluster, the one that answered last first."""

    def __init__(self, urls: Sequence[str], token: str) -> None:
        if not urls:
            raise ClusterUnreachableError("a client needs the URL of at least one node")
        self._urls = [url.rstrip("/") for url in urls]
        self._first = 0
        self.headers = {"Authorization": f"Bearer {token}"}

    def order(self) -> list[int]:
        """Return the indexes of the nodes to try, some of them twice."""
        count = len(self._urls)
        return [(self._first + step) % count for step in range(count * ATTEMPTS_PER_NODE)]

    def request(self, index: int, call: Call, key: str | None) -> dict[str, Any]:
        """Return the arguments of the HTTP request."""
        headers = {**self.headers, **call.headers}
        content = call.content()
        if content is not None:
            headers["Content-Type"] = call.content_type
        if key is not None:
            headers["Idempotency-Key"] = key
        return {
            "method": call.method,
            "url": self._urls[index] + call.path,
            "content": content,
            "headers": headers,
            "params": call.params or None,
        }

    def answered(self, index: int) -> None:
        """Note which node works."""
        self._first = index


def _key_for(call: Call, given: str | None) -> str | None:
    if not call.write:
        return None
    return given or secrets.token_urlsafe(18)


def _may_repeat(error: ApiError) -> bool:
    return error.code in REPEATABLE_CODES


class Client:
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
    ) -> None:
        self._nodes = _Nodes(urls, token)
        self._http = httpx.Client(timeout=timeout_s, trust_env=False)

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

    def _run(self, call: Call, idempotency_key: str | None = None) -> Any:
        key = _key_for(call, idempotency_key)
        last: Exception | None = None
        for index in self._nodes.order():
            try:
                response = self._http.request(**self._nodes.request(index, call, key))
                result = calls.result_of(response)
            except httpx.HTTPError as error:
                last = error
                continue
            except ApiError as error:
                if not _may_repeat(error):
                    raise
                last = error
                continue
            self._nodes.answered(index)
            return result
        if isinstance(last, ApiError):
            raise last
        raise ClusterUnreachableError(f"no node answered: {last}") from last

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
    ) -> dict[str, Any]:
        """Create or replace a document; return it. `if_match` is the version it must have."""
        stored: dict[str, Any] = self._run(
            calls.put(collection, document_id, document, if_match, absent=absent)
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
    ) -> dict[str, Any]:
        """Merge a patch into a document, or apply update operators; return the document."""
        stored: dict[str, Any] = self._run(
            calls.patch(collection, document_id, change, if_match, operators=operators)
        )
        return stored

    def get(
        self, collection: str, document_id: str, *, consistency: str | None = None
    ) -> dict[str, Any]:
        """Read a document, linearizably unless another consistency is named."""
        found: dict[str, Any] = self._run(calls.get(collection, document_id, consistency))
        return found

    def delete(self, collection: str, document_id: str, *, if_match: int | None = None) -> None:
        """Delete a document."""
        self._run(calls.delete(collection, document_id, if_match))

    def bulk(
        self, collection: str, operations: Sequence[Json], *, idempotency_key: str | None = None
    ) -> list[dict[str, Any]]:
        """Do up to 1,000 operations; return one result for each, in order."""
        answer = self._run(calls.bulk(collection, operations), idempotency_key)
        results: list[dict[str, Any]] = answer["results"]
        return results

    def query(self, collection: str, **options: Any) -> dict[str, Any]:
        """Return a page: documents, next, scanned, and plan when `explain` is asked."""
        page: dict[str, Any] = self._run(calls.query(collection, options))
        return page

    def iterate(self, collection: str, **options: Any) -> Iterator[dict[str, Any]]:
        """Yield every document that fits, page by page."""
        after: str | None = None
        while True:
            page = self.query(collection, **{"limit": PAGE_LIMIT, **options, "after": after})
            yield from page["documents"]
            after = page["next"]
            if after is None:
                return

    # --- Collections, keys, limits --------------------------------------------------------------

    def collections(self) -> list[dict[str, Any]]:
        """Return the collections the key covers."""
        found: list[dict[str, Any]] = self._run(Call("GET", "/api/v1/collections"))["collections"]
        return found

    def collection_put(self, collection: str, options: Json) -> dict[str, Any]:
        """Create a collection."""
        path = calls.collection_path(collection)
        stored: dict[str, Any] = self._run(Call("PUT", path, options, write=True))
        return stored

    def collection_drop(self, collection: str) -> None:
        """Drop a collection and all it holds."""
        self._run(Call("DELETE", calls.collection_path(collection), write=True))

    def keys(self) -> list[dict[str, Any]]:
        """Return the cluster's API keys."""
        found: list[dict[str, Any]] = self._run(Call("GET", "/api/v1/keys"))["keys"]
        return found

    def key_put(self, key_id: str, record: Json) -> dict[str, Any]:
        """Create or replace an API key record."""
        stored: dict[str, Any] = self._run(Call("PUT", f"/api/v1/keys/{key_id}", record))
        return stored

    def key_revoke(self, key_id: str) -> None:
        """Revoke an API key on every node."""
        self._run(Call("DELETE", f"/api/v1/keys/{key_id}"))

    def quota_put(self, limits: Json) -> dict[str, Any]:
        """Set the limits of the plan."""
        stored: dict[str, Any] = self._run(Call("PUT", "/api/v1/quota", limits))
        return stored

    # --- The cluster ----------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Return totals and live figures of the node that answers."""
        figures: dict[str, Any] = self._run(Call("GET", "/api/v1/stats"))
        return figures

    def nodes(self) -> dict[str, Any]:
        """Return the status of every member."""
        status: dict[str, Any] = self._run(Call("GET", "/api/v1/nodes/status"))
        return status

    def ready(self) -> bool:
        """Whether some node serves linearizable requests."""
        try:
            self._run(Call("GET", "/ready"))
        except (ApiError, ClusterUnreachableError):
            return False
        return True


class AsyncClient:
    """The same for asyncio: documents and queries, for many calls at once."""

    def __init__(self, urls: Sequence[str], token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._nodes = _Nodes(urls, token)
        self._http = httpx.AsyncClient(timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def _run(self, call: Call, idempotency_key: str | None = None) -> Any:
        key = _key_for(call, idempotency_key)
        last: Exception | None = None
        for index in self._nodes.order():
            try:
                response = await self._http.request(**self._nodes.request(index, call, key))
                result = calls.result_of(response)
            except httpx.HTTPError as error:
                last = error
                continue
            except ApiError as error:
                if not _may_repeat(error):
                    raise
                last = error
                continue
            self._nodes.answered(index)
            return result
        if isinstance(last, ApiError):
            raise last
        raise ClusterUnreachableError(f"no node answered: {last}") from last

    async def create(self, collection: str, document: Json) -> dict[str, Any]:
        """Create a document; return it."""
        stored: dict[str, Any] = await self._run(calls.create(collection, document))
        return stored

    async def put(
        self,
        collection: str,
        document_id: str,
        document: Json,
        *,
        if_match: int | None = None,
        absent: bool = False,
    ) -> dict[str, Any]:
        """Create or replace a document; return it."""
        call = calls.put(collection, document_id, document, if_match, absent=absent)
        stored: dict[str, Any] = await self._run(call)
        return stored

    async def get(
        self, collection: str, document_id: str, *, consistency: str | None = None
    ) -> dict[str, Any]:
        """Read a document."""
        found: dict[str, Any] = await self._run(calls.get(collection, document_id, consistency))
        return found

    async def delete(
        self, collection: str, document_id: str, *, if_match: int | None = None
    ) -> None:
        """Delete a document."""
        await self._run(calls.delete(collection, document_id, if_match))

    async def bulk(
        self, collection: str, operations: Sequence[Json], *, idempotency_key: str | None = None
    ) -> list[dict[str, Any]]:
        """Do up to 1,000 operations; return one result for each, in order."""
        answer = await self._run(calls.bulk(collection, operations), idempotency_key)
        results: list[dict[str, Any]] = answer["results"]
        return results

    async def query(self, collection: str, **options: Any) -> dict[str, Any]:
        """Return a page of documents."""
        page: dict[str, Any] = await self._run(calls.query(collection, options))
        return page

    async def iterate(self, collection: str, **options: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield every document that fits, page by page."""
        after: str | None = None
        while True:
            page = await self.query(collection, **{"limit": PAGE_LIMIT, **options, "after": after})
            for document in page["documents"]:
                yield document
            after = page["next"]
            if after is None:
                return

    async def stats(self) -> dict[str, Any]:
        """Return totals and live figures of the node that answers."""
        figures: dict[str, Any] = await self._run(Call("GET", "/api/v1/stats"))
        return figures
