"""A small command line for a cluster: `python -m dataplane.client status|get|query|verify`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from dataplane.client import audit_command, backup_command, evidence_command, tombstone_command
from dataplane.client.anchors import TrustAnchor, dump_anchor, load_anchor_file
from dataplane.client.client import Client
from dataplane.client.errors import ClientError, ProofError
from dataplane.client.proofs import PROOF_BYTES_MAX, verify_answer
from dataplane.client.spec import load_spec

URLS_VARIABLE: Final = "AEROLITH_URLS"
TOKEN_VARIABLE: Final = "AEROLITH_TOKEN"  # noqa: S105 - the name of a variable


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m dataplane.client", description=__doc__)
    parser.add_argument(
        "--url",
        action="append",
        help=f"of a node; may be repeated; otherwise {URLS_VARIABLE}, by spaces",
    )
    parser.add_argument("--token-file", help=f"holds the API key; otherwise {TOKEN_VARIABLE}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="every node, and the totals")
    get = commands.add_parser("get", help="one document")
    get.add_argument("collection")
    get.add_argument("id")
    query = commands.add_parser("query", help="documents, one JSON line each")
    query.add_argument("collection")
    query.add_argument("--filter", default="{}", help='JSON, as {"country": "SE"}')
    query.add_argument("--sort", default="{}", help='JSON, as {"name": 1}')
    query.add_argument("--limit", type=int, default=20, help="at most so many documents")
    get.add_argument("--consistency", choices=["strong", "session", "bounded", "local"])
    get.add_argument("--proof", action="store_true", help="with a proof, for `verify`")
    query.add_argument("--consistency", choices=["strong", "session", "local"])
    verify = commands.add_parser("verify", help="check a proof, without any connection")
    verify.add_argument("file", type=Path, help="a proof, or an answer with one; - reads stdin")
    verify.add_argument("--anchor", type=Path, required=True, help="the cluster's trust anchor")
    anchor = commands.add_parser("anchor", help="print the trust anchor of a specification")
    anchor.add_argument("spec", type=Path, help="the specification of one of the nodes")
    evidence_command.add_to(commands)
    tombstone_command.add_to(commands)
    backup_command.add_to(commands)
    audit_command.add_to(commands)
    return parser.parse_args(arguments)


def _print(value: Any, *, indent: int = 0) -> None:
    encoded = msgspec.json.encode(value)
    if indent:
        encoded = msgspec.json.format(encoded, indent=indent)
    sys.stdout.write(encoded.decode() + "\n")


def _json_object(option: str, text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ClientError(f"--{option} takes a JSON object: {error}") from error


def run(client: Client, options: argparse.Namespace) -> None:
    """Do one command and print what came of it."""
    match options.command:
        case "status":
            _print({"nodes": client.nodes(), "stats": client.stats()}, indent=2)
        case "get":
            document = client.get(
                options.collection,
                options.id,
                consistency=options.consistency,
                proof=options.proof,
            )
            _print(document, indent=2)
        case audit_command.EXPORT:
            audit_command.export(client, options)
        case _:
            _query(client, options)


def _query(client: Client, options: argparse.Namespace) -> None:
    left = options.limit
    wanted = client.iterate(
        options.collection,
        filter=_json_object("filter", options.filter),
        sort=_json_object("sort", options.sort) or None,
        limit=max(1, min(left, 500)),
        consistency=options.consistency,
    )
    for document in wanted:
        if left <= 0:
            return
        left -= 1
        _print(document)


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(PROOF_BYTES_MAX + 1)
    with path.open("rb") as file:
        return file.read(PROOF_BYTES_MAX + 1)


def _verify(options: argparse.Namespace) -> int:
    """Say in words what a proof proves, or why it does not; this never asks the cluster."""
    anchor = load_anchor_file(options.anchor)
    try:
        proven = verify_answer(_read(options.file), anchor)
    except ProofError as error:
        sys.stdout.write(f"NOT PROVEN. {error}\n")
        return 1
    sys.stdout.write(f"PROVEN. {proven.in_words()}\n")
    if proven.document is not None:
        _print(proven.document, indent=2)
    return 0


def main(arguments: list[str]) -> int:
    """Run; return 0, or 1 with one line of explanation."""
    options = parse(arguments)
    try:
        if options.command == "verify":
            return _verify(options)
        if options.command == "anchor":
            sys.stdout.write(dump_anchor(TrustAnchor.of_spec(load_spec(options.spec))).decode())
            return 0
        offline = {
            evidence_command.NAME: evidence_command.run,
            tombstone_command.NAME: tombstone_command.run,
            backup_command.VERIFY: backup_command.verify,
            backup_command.VERIFY_RESTORE: backup_command.verify_restored,
            audit_command.VERIFY: audit_command.verify,
        }.get(options.command)
        if offline is not None:
            return offline(options)
        if options.token_file:
            with open(options.token_file, encoding="utf-8") as file:  # noqa: PTH123 - may be a pipe
                token = file.read().strip()
        else:
            token = os.environ.get(TOKEN_VARIABLE, "")
        urls = options.url or os.environ.get(URLS_VARIABLE, "").split()
        if options.command in backup_command.CONNECTED:
            return backup_command.run(options, urls, token)
        with Client(urls, token) as client:
            run(client, options)
    except (ClientError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
