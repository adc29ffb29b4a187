"""The calls about indexes, which both clients have."""

from abc import ABC, abstractmethod
from typing import Any

from dataplane.client import calls
from dataplane.client.calls import Call, Json


class IndexCalls(ABC):
    """Those of the blocking client."""

    @abstractmethod
    def _run(self, call: Call, idempotency_key: str | None = None) -> Any:
        """Make a call."""

    def indexes(self, collection: str) -> list[dict[str, Any]]:
        """Return the indexes of a collection, with how far they are built."""
        found: list[dict[str, Any]] = self._run(calls.indexes(collection))["indexes"]
        return found

    def index_put(
        self,
        collection: str,
        name: str,
        fields: dict[str, int],
        *,
        unique: bool | None = None,
        sparse: bool | None = None,
        partial: Json | None = None,
        expire_after_s: int | None = None,
    ) -> dict[str, Any]:
        """Make an index on fields, in their order; it is built in the background."""
        definition = {
            "fields": fields,
            "unique": unique,
            "sparse": sparse,
            "partial": partial,
            "expire_after_s": expire_after_s,
        }
        stored: dict[str, Any] = self._run(calls.index_put(collection, name, definition))
        return stored

    def advice(self, collection: str) -> dict[str, Any]:
        """Return which queries a node has seen, and which indexes would help."""
        given: dict[str, Any] = self._run(calls.advice(collection))
        return given

    def index_get(self, collection: str, name: str) -> dict[str, Any]:
        """Return one index."""
        found: dict[str, Any] = self._run(calls.index_get(collection, name))
        return found

    def index_drop(self, collection: str, name: str) -> None:
        """Drop an index."""
        self._run(calls.index_drop(collection, name))


class AsyncIndexCalls(ABC):
    """Those of the asyncio client."""

    @abstractmethod
    async def _run(self, call: Call, idempotency_key: str | None = None) -> Any:
        """Make a call."""

    async def indexes(self, collection: str) -> list[dict[str, Any]]:
        """Return the indexes of a collection, with how far they are built."""
        found: list[dict[str, Any]] = (await self._run(calls.indexes(collection)))["indexes"]
        return found

    async def index_put(
        self,
        collection: str,
        name: str,
        fields: dict[str, int],
        *,
        unique: bool | None = None,
        sparse: bool | None = None,
        partial: Json | None = None,
        expire_after_s: int | None = None,
    ) -> dict[str, Any]:
        """Make an index on fields, in their order; it is built in the background."""
        definition = {
            "fields": fields,
            "unique": unique,
            "sparse": sparse,
            "partial": partial,
            "expire_after_s": expire_after_s,
        }
        stored: dict[str, Any] = await self._run(calls.index_put(collection, name, definition))
        return stored

    async def advice(self, collection: str) -> dict[str, Any]:
        """Return which queries a node has seen, and which indexes would help."""
        given: dict[str, Any] = await self._run(calls.advice(collection))
        return given

    async def index_get(self, collection: str, name: str) -> dict[str, Any]:
        """Return one index."""
        found: dict[str, Any] = await self._run(calls.index_get(collection, name))
        return found

    async def index_drop(self, collection: str, name: str) -> None:
        """Drop an index."""
        await self._run(calls.index_drop(collection, name))
