"""Both storage engines, for the tests where the difference matters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.storage.engine import MemoryStore, RocksStore
from dataplane.storage.ports import KeyValueStore


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    made: KeyValueStore = MemoryStore() if request.param == "memory" else RocksStore(tmp_path)
    yield made
    made.close()
