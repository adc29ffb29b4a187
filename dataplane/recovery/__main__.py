"""`python -m dataplane.recovery BACKUP... --archive DIR --anchor ANCHOR --out FILE`.

Writes the state of a cluster at a sequence or a time, as a backup that `restore --unsigned` takes.
"""

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from dataplane.client.anchors import TrustAnchor, load_anchor_file
from dataplane.client.archives import ArchiveDirectory, Deciders
from dataplane.client.backups import BackupReader, chained, verify_head
from dataplane.client.errors import BackupError, ClientError
from dataplane.client.taking import write_backup
from dataplane.recovery.replay import Replay, Since, Target
from dataplane.storage.engine import RocksStore
from dataplane.storage.errors import FatalStorageError

EXIT_FAILED: Final = 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m dataplane.recovery", description=__doc__)
    parser.add_argument("backup", type=Path, nargs="+", help="where to begin, the oldest first")
    parser.add_argument("--archive", type=Path, required=True, help="the archived batches")
    parser.add_argument("--anchor", type=Path, required=True, help="the cluster's trust anchor")
    parser.add_argument("--out", type=Path, help="the file to write; without it nothing is")
    parser.add_argument("--to-sequence", type=int, help="stop after this sequence")
    parser.add_argument("--to-time", type=_time_ms, help="stop after this time (RFC 3339)")
    parser.add_argument(
        "--check",
        type=Path,
        action="append",
        default=[],
        help="a later backup: its signed root is compared on the way",
    )
    parser.add_argument(
        "--since", action="store_true", help="count what happened afterwards, to the archive's end"
    )
    parser.add_argument(
        "--store", type=Path, help="keep the state in this directory, and go on with what is there"
    )
    parser.add_argument("--seconds", type=float, help="stop after this long; --store goes on")
    return parser.parse_args(arguments)


def _time_ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("name the offset of the time, as Z or +02:00")
    return int(moment.timestamp() * 1000)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Replay; return what came of it.

    Raises:
        ClientError: Something does not hold.
    """
    anchor = load_anchor_file(options.anchor)
    target = Target(options.to_sequence, options.to_time)
    with contextlib.ExitStack() as stack:
        readers = [BackupReader(stack.enter_context(path.open("rb"))) for path in options.backup]
        head = readers[-1].head
        verify_head(head, anchor)
        replay = _replay(stack, options, readers, Deciders(anchor))
        archive = ArchiveDirectory(options.archive)
        roots = _roots(options.check, anchor)
        # From the backup on, also where the replay goes on: who followed whom is told on the way.
        done = replay.run(
            archive.read(head.certificate.sequence),
            target,
            roots=roots,
            is_time_up=_time_up(options.seconds),
        )
        report: dict[str, Any] = {
            "from": head.certificate.sequence,
            "sequence": done.sequence,
            "root": replay.root().hex(),
            "time": datetime.fromtimestamp(done.time_ms / 1000, UTC).isoformat(),
            "compared": done.compared,
            "is_over": done.is_over,
        }
        if not done.is_over:
            return report
        if options.out is not None:
            write_backup(options.out, *replay.records())
        if options.since:
            since: Since = {}
            ended = replay.run(archive.read(replay.sequence), Target(), roots=roots, since=since)
            counted = {name: dict(counts) for name, counts in sorted(since.items())}
            report["since"] = {"sequence": ended.sequence, "collections": counted}
    return report


def _replay(
    stack: contextlib.ExitStack,
    options: argparse.Namespace,
    readers: list[BackupReader],
    deciders: Deciders,
) -> Replay:
    """Begin with the backup, or where an earlier run stopped."""
    path: Path | None = options.store
    if path is None:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir=_beside(options)))
        path = Path(directory) / "state"
    # Written once all rows are there: a run may have been ended while it loaded them.
    loaded = path.with_name(f"{path.name}.loaded")
    is_loaded = loaded.exists()
    if not is_loaded:
        shutil.rmtree(path, ignore_errors=True)
    store = RocksStore(path)
    stack.callback(store.close)
    records = None if is_loaded else chained(readers)
    replay = Replay(store, readers[-1].head, records, deciders)
    if options.store is not None:
        loaded.touch()
    return replay


def _time_up(seconds: float | None) -> Callable[[], bool]:
    ends_at = None if seconds is None else time.perf_counter() + seconds
    return lambda: ends_at is not None and time.perf_counter() >= ends_at


def _beside(options: argparse.Namespace) -> Path | None:
    return None if options.out is None else options.out.absolute().parent


def _roots(paths: list[Path], anchor: TrustAnchor) -> dict[int, bytes]:
    roots: dict[int, bytes] = {}
    for path in paths:
        with path.open("rb") as file:
            head = BackupReader(file).head
        verify_head(head, anchor)
        roots[head.certificate.sequence] = head.certificate.root
    return roots


def main(arguments: list[str]) -> int:
    """Run; return 0 and print JSON, or 1 with one line of explanation."""
    try:
        report = run(parse(arguments))
    except (BackupError, ClientError, OSError, FatalStorageError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_FAILED
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
