"""The program: all commands, and what becomes of their errors."""

import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aerolith_cli import (
    accounts,
    activity,
    audit,
    backups,
    chaos,
    clusters,
    collections,
    conflicts,
    documents,
    encryption,
    exits,
    indexes,
    keys,
    nodes,
    operations,
    output,
    policies,
    proofs,
    transfers,
    usage,
)
from aerolith_cli.exits import CommandError, explained
from aerolith_cli.options import examples
from aerolith_cli.session import Session
from dataplane.client.errors import ClientError

app = typer.Typer(
    name="aerolith",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
accounts.add_to(app)
clusters.add_to(app)
nodes.add_to(app)
operations.add_to(app)
usage.add_to(app)
activity.add_to(app)
keys.add_to(app)
collections.add_to(app)
indexes.add_to(app)
conflicts.add_to(app)
documents.add_to(app)
transfers.add_to(app)
policies.add_to(backups.commands)
backups.add_to(app)
encryption.add_to(app)
chaos.add_to(app)
audit.add_to(app)
proofs.add_to(app)


def _version(wanted: bool) -> None:  # noqa: FBT001 - called by typer
    if wanted:
        output.line(f"aerolith {importlib.metadata.version('aerolith')}")
        raise typer.Exit


@app.callback(
    epilog=examples(
        "aerolith login --portal https://portal.example.com",
        "aerolith clusters create shop --plan professional --nodes 4",
        "aerolith --cluster shop put orders o-17 '{\"lines\": 3}'",
        "AEROLITH_TOKEN=adk_... aerolith --url http://127.0.0.1:7001 get orders o-17",
    )
)
def choose(
    context: typer.Context,
    *,
    profile: Annotated[
        str | None, typer.Option(envvar="AEROLITH_PROFILE", help="Which login to use.")
    ] = None,
    org: Annotated[
        str | None, typer.Option(envvar="AEROLITH_ORG", help="Which organization to work in.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", "-c", envvar="AEROLITH_CLUSTER", help="Which cluster: name, id."),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help="A node of the cluster, instead of --cluster; or AEROLITH_URLS."),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(help="Holds the API key; otherwise AEROLITH_TOKEN.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """AerolithDB from the shell: clusters by their portal, documents by the nodes themselves."""
    urls = url or os.environ.get("AEROLITH_URLS", "").split()
    context.obj = Session(profile, org, cluster, tuple(urls), key_file)


def run(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code. Errors are one line, and what to do about them."""
    try:
        # Wrong usage, and a reader that has enough, are told by the library, which then exits.
        app(list(arguments), prog_name="aerolith")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else exits.DONE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except CommandError as error:
        return _tell(error)
    except ClientError as error:
        return _tell(explained(error))
    return exits.DONE


def _tell(error: CommandError) -> int:
    output.note(f"error: {error}")
    if error.hint:
        output.note(f"hint: {error.hint}")
    return error.code
