"""`python -m dataplane.client backup`, `verify-backup` and `restore`."""

import argparse
import contextlib
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from dataplane.client.anchors import load_anchor_file
from dataplane.client.archives import ArchiveDirectory, Deciders, fetch_batches
from dataplane.client.backups import BackupReader, chained, verify_backup, weigh_backup
from dataplane.client.client import Client
from dataplane.client.errors import ProofError
from dataplane.client.restores import (
    prove,
    restore_all,
    verify_restore,
    verify_restore_certificate,
)
from dataplane.client.taking import take_backup

VERIFY: Final = "verify-backup"
VERIFY_RESTORE: Final = "verify-restore"
CERTIFICATE_BYTES_MAX: Final = 16 * 1024 * 1024
CONNECTED: Final = ("backup", "restore", "archive")
ROUNDS_MAX: Final = 10_000
PAUSE_S: Final = 0.05
TIMEOUT_S: Final = 60.0


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the commands to the command line."""
    verify = commands.add_parser(VERIFY, help="check a backup, without a connection")
    _files(verify, "the backup; before an incremental one those it builds on, the oldest first")
    restored = commands.add_parser(VERIFY_RESTORE, help="check the certificate of a restore")
    restored.add_argument("file", type=Path, help="the certificate")
    restored.add_argument("--anchor", type=Path, required=True, help="of the cluster it is of")
    restored.add_argument("--into-anchor", type=Path, required=True, help="of the one restored")
    backup = commands.add_parser("backup", help="the state of now, checked, as a file")
    backup.add_argument("target", type=Path, help="the file to write")
    backup.add_argument("--anchor", type=Path, required=True, help="the cluster's trust anchor")
    backup.add_argument(
        "--since",
        type=Path,
        action="append",
        default=[],
        help="an earlier backup: only what changed is fetched; may be repeated, oldest first",
    )
    backup.add_argument(
        "--at-checkpoint",
        action="store_true",
        help="of the last certified checkpoint: also from one node of a cluster without a quorum",
    )
    archive = commands.add_parser("archive", help="keep what was decided, for `recovery`")
    archive.add_argument("directory", type=Path, help="where segments are kept")
    archive.add_argument("--anchor", type=Path, required=True, help="the cluster's trust anchor")
    archive.add_argument("--after", type=int, default=0, help="begin behind this sequence")
    archive.add_argument("--every", type=float, help="go on for ever, asking so often (seconds)")
    restore = commands.add_parser("restore", help="fill a cluster with the content of a backup")
    _files(restore, "the backup, with those it builds on before it")
    restore.add_argument("--into-anchor", type=Path, help="of the cluster that is filled")
    restore.add_argument("--replace", action="store_true", help="clear away what it holds")
    restore.add_argument(
        "--unsigned", action="store_true", help="of a state that you replayed: nobody signed it"
    )
    restore.add_argument("--id", help="of a restore that was interrupted (32 hex digits)")


def _files(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("file", type=Path, nargs="+", help=what)
    parser.add_argument("--anchor", type=Path, required=True, help="of the cluster it is of")


def _opened(stack: contextlib.ExitStack, paths: Sequence[Path]) -> list[BinaryIO]:
    return [stack.enter_context(path.open("rb")) for path in paths]


def verify(options: argparse.Namespace) -> int:
    """Say in words what the file proves: 0 when it does, 1 when not."""
    anchor = load_anchor_file(options.anchor)
    with contextlib.ExitStack() as stack:
        try:
            proven = verify_backup(_opened(stack, options.file), anchor)
        except ProofError as error:
            sys.stdout.write(f"NOT PROVEN. {error}\n")
            return 1
    sys.stdout.write(f"PROVEN. {proven.in_words()}\n")
    return 0


def verify_restored(options: argparse.Namespace) -> int:
    """Say in words what a certificate proves: 0 when it does, 1 when not."""
    source, target = load_anchor_file(options.anchor), load_anchor_file(options.into_anchor)
    with options.file.open("rb") as file:
        data = file.read(CERTIFICATE_BYTES_MAX)
    try:
        proven = verify_restore_certificate(data, source, target)
    except ProofError as error:
        sys.stdout.write(f"NOT PROVEN. {error}\n")
        return 1
    sys.stdout.write(f"PROVEN. {proven.in_words()}\n")
    return 0


def run(options: argparse.Namespace, urls: Sequence[str], token: str) -> int:
    """Take a backup or restore one."""
    if options.command == "backup":
        return _backup(options, urls, token)
    if options.command == "archive":
        return _archive(options, urls, token)
    return _restore(options, urls, token)


def _backup(options: argparse.Namespace, urls: Sequence[str], token: str) -> int:
    anchor = load_anchor_file(options.anchor)
    known = b""
    if options.since:
        with contextlib.ExitStack() as stack:
            known = verify_backup(_opened(stack, options.since), anchor).contents.known
    taken = take_backup(
        urls, token, anchor, options.target, known=known, at_checkpoint=options.at_checkpoint
    )
    sys.stdout.write(f"{taken.in_words()}\n")
    return 0


def _restore(options: argparse.Namespace, urls: Sequence[str], token: str) -> int:
    anchor = load_anchor_file(options.anchor)
    restore_id = options.id or secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        files = _opened(stack, options.file)
        verified = weigh_backup(files) if options.unsigned else verify_backup(files, anchor)
        sys.stdout.write(f"{verified.in_words()}\nrestore {restore_id}\n")
        readers = [BackupReader(file) for file in _opened(stack, options.file)]
        client = stack.enter_context(Client(urls, token, timeout_s=TIMEOUT_S))
        ended = restore_all(
            client.run,
            restore_id,
            verified,
            chained(readers),
            replace=options.replace,
            pause=lambda: time.sleep(PAUSE_S),
        )
        if options.into_anchor is None:
            sys.stdout.write(f"{ended['rows']} rows restored\n")
        else:
            proof = client.run(prove())["proof"]
            proven = verify_restore(proof, load_anchor_file(options.into_anchor))
            sys.stdout.write(f"PROVEN. {proven.in_words()}\n")
    return 0


def _archive(options: argparse.Namespace, urls: Sequence[str], token: str) -> int:
    directory = ArchiveDirectory(options.directory)
    deciders = Deciders(load_anchor_file(options.anchor))
    with Client(urls, token, timeout_s=TIMEOUT_S) as client:
        while True:
            last = directory.last or options.after
            for batches in fetch_batches(client.run, deciders, last, rounds_max=ROUNDS_MAX):
                directory.add(batches)
            sys.stdout.write(f"archived up to {directory.last}\n")
            if options.every is None:
                return 0
            time.sleep(options.every)
