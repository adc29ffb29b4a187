"""The calls about the history of a document, which both clients have."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

from dataplane.client import calls
from dataplane.client.calls import Call


class HistoryCalls(ABC):
    """Those of the blocking client."""

    @abstractmethod
    def _run(self, call: Call, idempotency_key: str | None = None) -> Any:
        """Make a call."""

    def history_page(
        self,
        collection: str,
        document_id: str,
        *,
        before: str | None = None,
        limit: int = 20,
        documents: bool = True,
        consistency: str | None = None,
    ) -> dict[str, Any]:
        """Return recent versions of a document, newest first, and where its history begins."""
        call = calls.history(
            (collection, document_id), before, limit, documents=documents, consistency=consistency
        )
        page: dict[str, Any] = self._run(call)
        return page

    def history(
        self, collection: str, document_id: str, *, documents: bool = True, limit: int = 100
    ) -> Iterator[dict[str, Any]]:
        """Yield every version that the cluster still knows, newest first, `limit` in a page."""
        before: str | None = None
        while True:
            page = self.history_page(
                collection, document_id, before=before, limit=limit, documents=documents
            )
            yield from page["versions"]
            before = page["next"]
            if before is None:
                return


class AsyncHistoryCalls(ABC):
    """Those of the asyncio client."""

    @abstractmethod
    async def _run(self, call: Call, idempotency_key: str | None = None) -> Any:
        """Make a call."""

    async def history_page(
        self,
        collection: str,
        document_id: str,
        *,
        before: str | None = None,
        limit: int = 20,
        documents: bool = True,
        consistency: str | None = None,
    ) -> dict[str, Any]:
        """Return recent versions of a document, newest first, and where its history begins."""
        call = calls.history(
            (collection, document_id), before, limit, documents=documents, consistency=consistency
        )
        page: dict[str, Any] = await self._run(call)
        return page

    async def history(
        self, collection: str, document_id: str, *, documents: bool = True, limit: int = 100
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield every version that the cluster still knows, newest first, `limit` in a page."""
        before: str | None = None
        while True:
            page = await self.history_page(
                collection, document_id, before=before, limit=limit, documents=documents
            )
            for version in page["versions"]:
                yield version
            before = page["next"]
            if before is None:
                return
