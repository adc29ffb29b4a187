"""API keys of a cluster."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from aerolith_cli import output, profiles
from aerolith_cli.exits import USAGE, CommandError
from aerolith_cli.options import JsonFlag, LimitOption, days_from_now, examples
from aerolith_cli.session import session_of

commands = typer.Typer(no_args_is_help=True, help="API keys of the cluster in use.")
DAYS_MAX: Final = 3_650
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Its id.")]
Days = Annotated[
    int | None, typer.Option(min=1, max=DAYS_MAX, help="For how long; otherwise for ever.")
]
SecretFile = Annotated[
    Path | None, typer.Option(help="Write the secret there (mode 0600), not to the output.")
]
_COLUMNS: Final[list[output.Column]] = [
    ("KEY", lambda row: row["id"]),
    ("NAME", lambda row: row["name"]),
    ("SCOPES", lambda row: " ".join(row["scopes"])),
    ("COLLECTIONS", lambda row: " ".join(row["collections"])),
    ("EXPIRES", lambda row: row["expires"]),
    ("REVOKED", lambda row: row["revoked"]),
]


@commands.command("list")
def list_(context: typer.Context, *, limit: LimitOption = 200, as_json: JsonFlag = False) -> None:
    """List keys, newest first; nobody can read their secrets again."""
    session = session_of(context)
    with session.portal() as portal:
        path = f"{session.place(portal)}/keys"
        rows = list(portal.pages(path, limit=limit))
    output.listing(rows, _COLUMNS, as_json=as_json)


@commands.command(
    epilog=examples(
        "aerolith keys create reports --scope documents:read --collection 'reports-*'",
        "aerolith keys create app --days 30 --secret-file app.key",
    )
)
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="As documents:read; may be repeated; otherwise what a program needs."),
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Name or pattern; may be repeated; otherwise all.")
    ] = None,
    days: Days = None,
    secret_file: SecretFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key. Its secret is told this once."""
    _require_new(secret_file)
    body: dict[str, Any] = {"name": name, "expires": _expires(days)}
    if scope:
        body["scopes"] = scope
    if collection:
        body["collections"] = collection
    session = session_of(context)
    with session.portal() as portal:
        path = f"{session.place(portal)}/keys"
        made = portal.write("POST", path, body)
    _hand_over(made, secret_file, as_json=as_json)


def _require_new(secret_file: Path | None) -> None:
    if secret_file is not None and secret_file.exists():
        raise CommandError(f"{secret_file} is there already", code=USAGE, hint="Name a new file.")


def _expires(days: int | None) -> str | None:
    return None if days is None else days_from_now(days)


def _hand_over(made: dict[str, Any], secret_file: Path | None, *, as_json: bool) -> None:
    """Give the secret away, this once."""
    if secret_file is not None:
        profiles.write_private(secret_file, made.pop("secret").encode() + b"\n")
        output.note(f"the secret is in {secret_file}")
    if as_json:
        output.json_value(made)
    else:
        output.line(made.get("secret", made["id"]))


@commands.command()
def show(context: typer.Context, key: KeyId, *, as_json: JsonFlag = False) -> None:
    """Show a key: what it may do, until when, who made it."""
    session = session_of(context)
    with session.portal() as portal:
        found = portal.get(f"{session.place(portal)}/keys/{key}")
    if as_json:
        output.json_value(found)
    else:
        output.facts(list(found.items()))


@commands.command(
    epilog=examples(
        "aerolith keys rotate 4f2a9c0d1e8b7a65 --secret-file app.key",
        "aerolith keys revoke 4f2a9c0d1e8b7a65     # once programs use the new one",
    )
)
def rotate(
    context: typer.Context,
    key: KeyId,
    *,
    days: Days = None,
    secret_file: SecretFile = None,
    revoke_old: Annotated[
        bool, typer.Option("--revoke-old", help="At once; otherwise both work meanwhile.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a key that may do the same as another one, which it is to take the place of."""
    _require_new(secret_file)
    session = session_of(context)
    with session.portal() as portal:
        path = f"{session.place(portal)}/keys"
        old = portal.get(f"{path}/{key}")
        if old["expires"] is not None and days is None:
            # A rotation must not make of a key that ends one that never does.
            text = f"{key} expires at {old['expires']}; say with --days when the new one does"
            raise CommandError(text, code=USAGE)
        body = {name: old[name] for name in ("name", "scopes", "collections")}
        made = portal.write("POST", path, {**body, "expires": _expires(days)})
    _hand_over(made, secret_file, as_json=as_json)
    if revoke_old:
        revoke(context, key)


@commands.command()
def revoke(context: typer.Context, key: KeyId) -> None:
    """Revoke a key on every node."""
    session = session_of(context)
    with session.portal() as portal:
        cluster = session.find_cluster(portal)
        path = f"{session.place(portal, cluster)}/keys/{key}"
        portal.write("DELETE", path)
    stored = session.profile().keys.get(cluster["id"])
    if stored is not None and stored.id == key:
        with profiles.changing() as held:
            held[0] = profiles.with_key(held[0], session.name, cluster["id"], None)
    output.note(f"revoked {key}")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="keys")
