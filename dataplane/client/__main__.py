"""A small command line for a cluster: `python -m dataplane.client status|get|query`."""

import argparse
import os
import sys
from typing import Any, Final

import msgspec

from dataplane.client.client import Client
from dataplane.client.errors import ClientError

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
    for command in (get, query):
        command.add_argument("--consistency", choices=["strong", "session", "local"])
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
            document = client.get(options.collection, options.id, consistency=options.consistency)
            _print(document, indent=2)
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


def main(arguments: list[str]) -> int:
    """Run; return 0, or 1 with one line of explanation."""
    options = parse(arguments)
    try:
        if options.token_file:
            with open(options.token_file, encoding="utf-8") as file:  # noqa: PTH123 - may be a pipe
                token = file.read().strip()
        else:
            token = os.environ.get(TOKEN_VARIABLE, "")
        urls = options.url or os.environ.get(URLS_VARIABLE, "").split()
        with Client(urls, token) as client:
            run(client, options)
    except (ClientError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
