"""Point-in-time recovery of a real cluster, from a shell: archive, replay, restore."""

import msgspec

from dataplane.client import Client
from dataplane.client.__main__ import main
from dataplane.client.anchors import dump_anchor
from dataplane.client.archives import ArchiveDirectory
from dataplane.recovery.__main__ import main as recover


def test_documents_that_were_deleted_come_back_as_they_were_just_before(
    make_cluster, tmp_path, capsys
):
    source, target = make_cluster(4), make_cluster(1)
    for name, cluster in (("source", source), ("target", target)):
        (tmp_path / f"{name}.json").write_bytes(dump_anchor(cluster.anchor))
        (tmp_path / f"{name}.key").write_text(cluster.api_key)
    anchor = ["--anchor", str(tmp_path / "source.json")]
    files = {name: str(tmp_path / name) for name in ("first", "later", "archive", "state")}

    def call(cluster: str, *arguments: str) -> str:
        urls = {"source": source, "target": target}[cluster].urls
        key = str(tmp_path / f"{cluster}.key")
        assert main(["--url", urls[0], "--token-file", key, *arguments]) == 0
        return capsys.readouterr().out

    with Client(source.urls, source.api_key) as client:
        client.put("things", "old", {"n": 1})
        call("source", "backup", files["first"], *anchor)
        for number in range(20):
            client.put("things", f"new-{number}", {"n": number})
        before = list(client.iterate("things", sort={"_id": 1}))
        sequence = client.nodes()["sequence"]
        client.collection_drop("things")
        client.put("others", "one", {})
    call("source", "archive", files["archive"], *anchor)
    call("source", "backup", files["later"], *anchor)
    call("source", "archive", files["archive"], *anchor)
    assert ArchiveDirectory(tmp_path / "archive").last > sequence

    arguments = [files["first"], "--archive", files["archive"], *anchor, "--check", files["later"]]
    assert recover([*arguments, "--to-sequence", str(sequence), "--out", files["state"]]) == 0
    report = msgspec.json.decode(capsys.readouterr().out)
    assert report["sequence"] == sequence
    assert recover([*arguments, "--since"]) == 0
    whole = msgspec.json.decode(capsys.readouterr().out)
    assert len(whole["compared"]) == 2
    assert recover([*arguments, "--to-sequence", str(10**9)]) == 1
    assert "beyond_archive" in capsys.readouterr().err

    into = ["--into-anchor", str(tmp_path / "target.json")]
    assert main(["verify-backup", files["state"], *anchor]) == 1
    capsys.readouterr()
    assert "PROVEN." in call("target", "restore", files["state"], *anchor, *into, "--unsigned")
    with Client(target.urls, target.api_key) as client:
        assert list(client.iterate("things", sort={"_id": 1})) == before
