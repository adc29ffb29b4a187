"""`python -m dataplane.recovery.drill BACKUP --anchor ANCHOR --directory DIR`.

A rehearsal of a restore: a node of its own is started on this machine, the backup is brought into
it like into any cluster, it signs what it holds, and is taken down again. Prints how far it is, a
line of JSON each, and last what came of it.
"""

import argparse
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from dataplane.client.anchors import load_anchor_file
from dataplane.client.backups import BackupReader, verify_backup
from dataplane.client.client import Client
from dataplane.client.errors import BackupError, ClientError
from dataplane.client.local import LocalCluster
from dataplane.client.restores import prove, restore_all, verify_restore

START_S: Final = 60.0
PAUSE_S: Final = 0.1
TIMEOUT_S: Final = 60.0
ID_BYTES: Final = 16


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m dataplane.recovery.drill", description=__doc__)
    parser.add_argument("backup", type=Path, help="a whole backup")
    parser.add_argument("--anchor", type=Path, required=True, help="the cluster's trust anchor")
    parser.add_argument(
        "--directory", type=Path, required=True, help="for the node; may be removed"
    )
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Rehearse; return how long it took and what the node then holds.

    Raises:
        ClientError: The backup does not hold, or could not be restored.
    """
    began = time.perf_counter()
    _say("checking the backup")
    with options.backup.open("rb") as file:
        verified = verify_backup([file], load_anchor_file(options.anchor))
    cluster = LocalCluster(options.directory, 1)
    try:
        _say("starting a node")
        cluster.start()
        _wait(cluster)
        with Client(cluster.urls, cluster.api_key, timeout_s=TIMEOUT_S) as client:
            with options.backup.open("rb") as file:
                restore_all(
                    client.run,
                    secrets.token_hex(ID_BYTES),
                    verified,
                    BackupReader(file).records(),
                    pause=lambda: time.sleep(PAUSE_S),
                    progress=lambda done, rows: _say(f"row {done:,} of {rows:,}"),
                )
            proven = verify_restore(client.run(prove())["proof"], cluster.anchor)
            documents = int(client.stats()["documents"])
    finally:
        if cluster.processes:
            cluster.kill()
    if proven.content != verified.contents.content:
        raise BackupError("other_content", "the node holds something else than the backup")
    return {
        "sequence": verified.head.certificate.sequence,
        "rows": proven.rows,
        "documents": documents,
        "content": proven.content.hex(),
        "seconds": round(time.perf_counter() - began, 3),
    }


def _say(words: str) -> None:
    sys.stdout.write(msgspec.json.encode({"at": words}).decode() + "\n")
    sys.stdout.flush()


def _wait(cluster: LocalCluster) -> None:
    until = time.perf_counter() + START_S
    while not cluster.is_ready(0):
        if time.perf_counter() > until:
            raise ClientError(f"the node did not start: {cluster.log(0)[-500:]}")
        time.sleep(PAUSE_S)


def main(arguments: list[str]) -> int:
    """Run; return 0 and print JSON, or 1 with one line of explanation."""
    try:
        report = run(parse(arguments))
    except (ClientError, httpx.HTTPError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
