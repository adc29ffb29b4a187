"""Backups and restores of real clusters, with nodes that lie or are killed in the middle."""

import secrets
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dataplane.client import Client
from dataplane.client.__main__ import main
from dataplane.client.anchors import dump_anchor
from dataplane.client.backups import BackupReader, Verified, verify_backup
from dataplane.client.calls import Call
from dataplane.client.errors import ClientError, ProofError
from dataplane.client.local import LocalCluster
from dataplane.client.restores import ProvenRestore, prove, restore_all, verify_restore
from dataplane.client.taking import take_backup
from tests.processes.conftest import wait_for, wait_ready


def fill(cluster: LocalCluster, count: int, text: str = "x") -> None:
    with Client(cluster.urls, cluster.api_key, timeout_s=30) as client:
        documents = [{"_id": f"id-{n}", "n": n, "text": text * 40} for n in range(count)]
        for result in client.import_documents("things", documents):
            assert result["status"] < 300


def documents_of(cluster: LocalCluster) -> list[dict]:
    with Client(cluster.urls, cluster.api_key, timeout_s=30) as client:
        return list(client.iterate("things", sort={"_id": 1}))


def restore(
    cluster: LocalCluster,
    file: Path,
    verified: Verified,
    name: str,
    *,
    replace: bool = False,
    before: Callable[[Call], None] = lambda _call: None,
) -> ProvenRestore:
    """Restore, calling `before` with every call; return what the cluster proves of it."""
    with (
        file.open("rb") as source,
        Client(cluster.urls, cluster.api_key, timeout_s=20) as client,
    ):

        def run(call: Call) -> object:
            before(call)
            return client.run(call)

        ended = restore_all(
            run,
            name,
            verified,
            BackupReader(source).records(),
            replace=replace,
            pause=lambda: None,
        )
        assert ended["state"] == "done"
        return verify_restore(client.run(prove())["proof"], cluster.anchor)


def test_a_cluster_restored_from_a_backup_proves_that_it_holds_the_same(make_cluster, tmp_path):
    source, target = make_cluster(4), make_cluster(1)
    fill(source, 300)
    file = tmp_path / "backup"
    verified = take_backup(source.urls, source.api_key, source.anchor, file)
    proven = restore(target, file, verified, secrets.token_hex(16))
    assert documents_of(target) == documents_of(source)
    assert proven.content == verified.contents.content
    assert proven.source_root == verified.contents.root
    assert f"the content of cluster {source.cluster_id}" in proven.in_words()
    # What the restored cluster now backs up has the same content, under its own signatures.
    again = take_backup(target.urls, target.api_key, target.anchor, tmp_path / "again")
    assert again.contents.content == verified.contents.content
    with pytest.raises(ProofError):
        verify_backup([(tmp_path / "again").open("rb")], source.anchor)


def test_the_commands_take_check_and_restore_a_backup(make_cluster, tmp_path, capsys):
    source, target = make_cluster(1), make_cluster(1)
    fill(source, 30)
    for name, cluster in (("source", source), ("target", target)):
        (tmp_path / f"{name}.json").write_bytes(dump_anchor(cluster.anchor))
        (tmp_path / f"{name}.key").write_text(cluster.api_key)

    def call(cluster: str, *arguments: str) -> str:
        urls = {"source": source, "target": target}[cluster].urls
        options = ["--url", urls[0], "--token-file", str(tmp_path / f"{cluster}.key")]
        assert main([*options, *arguments]) == 0
        return capsys.readouterr().out

    anchor = ["--anchor", str(tmp_path / "source.json")]
    whole, changes = str(tmp_path / "whole"), str(tmp_path / "changes")
    assert "all " in call("source", "backup", whole, *anchor)
    with Client(source.urls, source.api_key) as client:
        client.put("things", "later", {"n": 1})
    assert "changed rows" in call("source", "backup", changes, *anchor, "--since", whole)
    assert "PROVEN. " in call("source", "verify-backup", whole, changes, *anchor)
    into = ["--into-anchor", str(tmp_path / "target.json")]
    assert "PROVEN. Cluster" in call("target", "restore", whole, changes, *anchor, *into)
    assert documents_of(target) == documents_of(source)


def test_a_node_that_forges_a_backup_is_found_out_and_another_asked(tmp_path):
    cluster = LocalCluster(tmp_path / "cluster", 4, liars={2: "forged_backups"})
    try:
        cluster.start()
        wait_ready(cluster)
        fill(cluster, 100)
        liar, honest = cluster.urls[2], cluster.urls[3]
        with pytest.raises(ProofError) as refused:
            take_backup([liar], cluster.api_key, cluster.anchor, tmp_path / "forged")
        assert refused.value.code == "other_root"
        assert not list(tmp_path.glob("forged*"))
        target = tmp_path / "backup"
        assert take_backup([liar, honest], cluster.api_key, cluster.anchor, target).is_whole
    finally:
        cluster.kill()


class CutRelay:
    """Passes one connection on to a node, and cuts it after so many bytes of the answer."""

    def __init__(self, url: str, cut_bytes: int) -> None:
        self._to = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        self._cut_bytes = cut_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def _relay(self) -> None:
        accepted, _ = self._listener.accept()
        # Nothing listens any more: the second time this node is asked it is down.
        self._listener.close()
        with accepted, socket.create_connection(self._to) as node:
            node.sendall(accepted.recv(65_536))
            left = self._cut_bytes
            while left > 0:
                data = node.recv(min(left, 65_536))
                accepted.sendall(data)
                left -= len(data)

    def end(self) -> None:
        self._thread.join()


def test_a_backup_goes_on_at_another_node_when_the_first_breaks_off(make_cluster, tmp_path):
    cluster = make_cluster(4)
    fill(cluster, 2_000, text=secrets.token_hex(16))
    known = (cluster.api_key, cluster.anchor)
    whole = take_backup(cluster.urls[:1], *known, tmp_path / "whole")
    half = (tmp_path / "whole").stat().st_size // 2
    relay, target = CutRelay(cluster.urls[0], half), tmp_path / "backup"
    fill(cluster, 1, text="changed meanwhile")
    verified = take_backup([relay.url, cluster.urls[1]], *known, target)
    relay.end()
    assert verified.is_whole
    assert verified.contents.rows >= whole.contents.rows
    assert [path.name for path in tmp_path.glob("backup*")] == ["backup"]
    with target.open("rb") as file:
        assert verify_backup([file], cluster.anchor) == verified
    # A signed state may still be an old one.
    with pytest.raises(ProofError) as refused:
        take_backup(cluster.urls, *known, target, after=10**9)
    assert refused.value.code == "stale"


STEPS = ("parts", "finish")


@pytest.mark.parametrize("step", STEPS)
def test_a_restore_goes_on_after_all_nodes_were_killed_at_any_step(make_cluster, tmp_path, step):
    source, target = make_cluster(1), make_cluster(3)
    fill(source, 400, text=secrets.token_hex(32))
    file, name = tmp_path / "backup", secrets.token_hex(16)
    verified = take_backup(source.urls, source.api_key, source.anchor, file)
    killed: list[int] = []

    def before(call: Call) -> None:
        at = call.path.rsplit("/", 1)[1]
        late_enough = step == "finish" or call.params.get("number") == "1"
        if not killed and at == step and late_enough:
            killed.append(1)
            target.kill()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(target, file, verified, name, before=before)
    target.start()
    wait_ready(target)
    proven = restore(target, file, verified, name)
    assert proven.content == verified.contents.content
    assert documents_of(target) == documents_of(source)


def test_a_restore_in_place_keeps_the_keys_and_brings_the_old_documents_back(
    make_cluster, tmp_path
):
    cluster = make_cluster(3)
    fill(cluster, 50)
    before = documents_of(cluster)
    file = tmp_path / "backup"
    verified = take_backup(cluster.urls, cluster.api_key, cluster.anchor, file)
    fill(cluster, 1_500, text="y")
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("others", "one", {})
    with pytest.raises(ClientError):
        restore(cluster, file, verified, secrets.token_hex(16))
    restore(cluster, file, verified, secrets.token_hex(16), replace=True)
    assert documents_of(cluster) == before
    with Client(cluster.urls, cluster.api_key) as client:
        assert [found["name"] for found in client.collections()] == ["things"]
    wait_for(lambda: all(map(cluster.is_ready, range(3))), "every node is well")


def test_the_last_node_of_a_cluster_without_a_quorum_still_has_a_proven_backup(
    make_cluster, tmp_path
):
    source = make_cluster(4)
    fill(source, 30)
    with Client(source.urls, source.api_key, timeout_s=30) as client:
        for number in range(140):
            client.put("count", "n", {"n": number})
    held = documents_of(source)
    source.kill(0, 1, 2)
    file, known = tmp_path / "left.backup", (source.api_key, source.anchor)

    def take() -> Verified | None:
        try:
            return take_backup(source.urls[3:], *known, file, at_checkpoint=True)
        except ClientError:
            return None

    verified = take()
    assert verified is not None
    assert verified.head.certificate.kind == "checkpoint"
    with file.open("rb") as stored:
        assert verify_backup([stored], source.anchor).is_whole
    with pytest.raises(ClientError, match="no_quorum"):
        take_backup(source.urls[3:], *known, tmp_path / "now")
    target = make_cluster(1)
    restore(target, file, verified, secrets.token_hex(16))
    assert documents_of(target) == held
    source.kill(3)
    source.start(3)
    wait_for(lambda: take() is not None, "a restarted node tells the checkpoint from its journal")
