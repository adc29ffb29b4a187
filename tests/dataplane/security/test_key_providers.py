"""Keys wrapped by a file and by a real key server; what goes wrong is said with what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.client.errors import KeyProviderError
from dataplane.client.key_providers import (
    KeyProvider,
    cluster_key_make,
    cluster_key_read,
    provider_of,
)
from dataplane.client.spec import FileKeySpec, TransitKeySpec
from tests.openbao import OpenBao, openbao

KEY = bytes(range(32))
CLUSTER, OTHER_CLUSTER = "ab" * 16, "cd" * 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with openbao(tmp_path_factory.mktemp("openbao")) as running:
        yield running


@pytest.fixture(params=["file", "transit"])
def spec(
    request: pytest.FixtureRequest, tmp_path: Path, server: OpenBao
) -> FileKeySpec | TransitKeySpec:
    if request.param == "file":
        return FileKeySpec(str(tmp_path / "kek.key"))
    return server.spec(f"key-{abs(hash(request.node.name)) % 10_000}")


@pytest.fixture
def provider(spec: FileKeySpec | TransitKeySpec) -> KeyProvider:
    made = provider_of(spec)
    made.create()
    return made


def test_a_wrapped_key_comes_back(provider: KeyProvider) -> None:
    wrapped = provider.wrap(KEY, b"context")
    assert KEY not in wrapped
    assert wrapped != provider.wrap(KEY, b"context")
    provider.create()
    assert provider.unwrap(wrapped, b"context") == KEY


def test_a_wrapped_key_is_bound_to_its_context(provider: KeyProvider) -> None:
    wrapped = provider.wrap(KEY, b"context")
    with pytest.raises(KeyProviderError):
        provider.unwrap(wrapped, b"another")
    with pytest.raises(KeyProviderError):
        provider.unwrap(wrapped[:-3] + b"AAA", b"context")


def test_a_destroyed_key_unwraps_nothing_any_more(provider: KeyProvider) -> None:
    wrapped = provider.wrap(KEY, b"context")
    provider.destroy()
    provider.destroy()
    with pytest.raises(KeyProviderError):
        provider.unwrap(wrapped, b"context")
    provider.create()
    with pytest.raises(KeyProviderError):
        provider.unwrap(wrapped, b"context")


def test_a_cluster_key_is_of_its_cluster(
    spec: FileKeySpec | TransitKeySpec, tmp_path: Path
) -> None:
    path = tmp_path / "cluster.key"
    path.write_bytes(cluster_key_make(spec, CLUSTER))
    key = cluster_key_read(path, spec, CLUSTER)
    assert len(key) == 32
    assert cluster_key_read(path, spec, CLUSTER) == key
    with pytest.raises(KeyProviderError):
        cluster_key_read(path, spec, OTHER_CLUSTER)
    path.write_bytes(cluster_key_make(spec, CLUSTER))
    assert cluster_key_read(path, spec, CLUSTER) != key


def test_a_missing_wrapped_key_is_said_with_what_to_do(tmp_path: Path) -> None:
    spec = FileKeySpec(str(tmp_path / "kek.key"))
    with pytest.raises(KeyProviderError, match="copy it from another node"):
        cluster_key_read(tmp_path / "cluster.key", spec, CLUSTER)


def test_a_key_file_that_others_read_or_that_is_no_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek.key"
    provider = provider_of(FileKeySpec(str(path)))
    with pytest.raises(KeyProviderError, match="put it back"):
        provider.wrap(KEY, b"")
    provider.create()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyProviderError, match="make it mode 0600"):
        provider.wrap(KEY, b"")
    path.chmod(0o600)
    for text in ("xyz", "ab" * 31):
        path.write_text(text)
        with pytest.raises(KeyProviderError, match="64 hex digits"):
            provider.wrap(KEY, b"")


def test_a_node_needs_no_more_than_to_unwrap_with_its_one_key(server: OpenBao) -> None:
    provider_of(server.spec("mine")).create()
    provider_of(server.spec("other")).create()
    mine = provider_of(server.spec("mine", server.token_for("mine")))
    assert mine.unwrap(mine.wrap(KEY, b"c"), b"c") == KEY
    other = provider_of(server.spec("other", server.token_for("mine")))
    with pytest.raises(KeyProviderError, match="renew the token or its policy"):
        other.wrap(KEY, b"c")
    with pytest.raises(KeyProviderError, match="403"):
        mine.destroy()


def test_a_server_that_rotates_its_key_still_unwraps_what_it_wrapped(server: OpenBao) -> None:
    provider = provider_of(server.spec("turning"))
    provider.create()
    wrapped = provider.wrap(KEY, b"c")
    server.call("POST", "transit/keys/turning/rotate")
    assert provider.unwrap(wrapped, b"c") == KEY
    assert provider.wrap(KEY, b"c").startswith(b"vault:v2:")


def test_a_server_that_is_away_is_said_with_what_to_do(tmp_path: Path) -> None:
    token = tmp_path / "token"
    spec = TransitKeySpec("http://127.0.0.1:9", "key", str(token))
    with pytest.raises(KeyProviderError, match="cannot read the token"):
        provider_of(spec).wrap(KEY, b"")
    token.write_text("secret-token")
    with pytest.raises(KeyProviderError, match="does not answer") as caught:
        provider_of(spec).wrap(KEY, b"")
    assert "secret-token" not in str(caught.value)


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyProviderError, match="letters and digits"):
        provider_of(TransitKeySpec("http://127.0.0.1:9", "../sys", str(tmp_path)))
