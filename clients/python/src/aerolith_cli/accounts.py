"""Logins, profiles and organizations."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from aerolith_cli import output, profiles
from aerolith_cli.exits import NOT_FOUND, USAGE, CommandError
from aerolith_cli.options import JsonFlag, examples
from aerolith_cli.portal import Portal, portal_url
from aerolith_cli.profiles import Profile
from aerolith_cli.session import TOKEN_VARIABLE, read_secret, session_of

profile_commands = typer.Typer(no_args_is_help=True, help="Logins that are remembered.")
org_commands = typer.Typer(no_args_is_help=True, help="Organizations.")


def login(
    context: typer.Context,
    *,
    portal: Annotated[
        str | None, typer.Option(envvar="AEROLITH_PORTAL", help="Address of the portal.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="Holds the personal token; - reads standard input.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Also over plain HTTP.")] = False,
) -> None:
    """Remember a portal and a personal token, for you alone (mode 0600).

    The token is asked for and not shown; it is never an argument, which other users could see.
    """
    session = session_of(context)
    known = profiles.load().profiles.get(session.name)
    address = portal or (known.portal if known is not None else None)
    if address is None:
        raise CommandError("which portal?", code=USAGE, hint="aerolith login --portal https://...")
    url = portal_url(address, insecure=insecure)
    token = _token(url, token_file)
    with Portal(url, token) as client:
        me = client.get("me")
    slugs = [row["slug"] for row in me["organizations"]]
    chosen = session.organization or (slugs[0] if len(slugs) == 1 else None)
    if chosen is not None and chosen not in slugs:
        hint = f"You are in: {', '.join(slugs) or 'none'}"
        raise CommandError(f"there is no organization {chosen!r}", code=NOT_FOUND, hint=hint)
    profile = Profile(portal=url, token=token, organization=chosen)
    if known is not None and known.portal == url:
        profile = msgspec.structs.replace(profile, keys=known.keys, cluster=known.cluster)
    with profiles.changing() as held:
        config = profiles.with_profile(held[0], session.name, profile)
        held[0] = msgspec.structs.replace(config, current=session.name)
    output.note(f"logged in to {url} as {me['email']} (profile {session.name})")
    if chosen is None and slugs:
        output.note(f"hint: choose an organization: aerolith orgs use {slugs[0]}")


def _token(url: str, token_file: Path | None) -> str:
    if token_file is not None:
        return read_secret(token_file)
    if given := os.environ.get(TOKEN_VARIABLE):
        return given
    if not sys.stdin.isatty():
        hint = f"Use --token-file, or set {TOKEN_VARIABLE}."
        raise CommandError("there is no terminal to ask for the token", code=USAGE, hint=hint)
    output.note(f"Make a token at {url}/account/tokens/")
    answer: str = typer.prompt("Token", hide_input=True, err=True)
    return answer.strip()


def logout(context: typer.Context) -> None:
    """Forget the login in use. The token itself stays good until you revoke it at the portal."""
    session = session_of(context)
    profile = session.profile()
    _forget(session.name)
    output.note(f"forgot {session.name}; revoke the token at {profile.portal}/account/tokens/")


def _forget(name: str) -> None:
    with profiles.changing() as held:
        left = {known: value for known, value in held[0].profiles.items() if known != name}
        held[0] = msgspec.structs.replace(held[0], profiles=left)


@profile_commands.command("list")
def profiles_list(*, as_json: JsonFlag = False) -> None:
    """List logins; secrets are not printed."""
    config = profiles.load()
    rows = [
        {
            "name": name,
            "current": name == config.current,
            "portal": profile.portal,
            "organization": profile.organization,
            "cluster": profile.cluster,
        }
        for name, profile in sorted(config.profiles.items())
    ]
    columns: list[output.Column] = [
        ("PROFILE", lambda row: row["name"]),
        ("CURRENT", lambda row: row["current"]),
        ("PORTAL", lambda row: row["portal"]),
        ("ORGANIZATION", lambda row: row["organization"]),
        ("CLUSTER", lambda row: row["cluster"]),
    ]
    output.listing(rows, columns, as_json=as_json)


@profile_commands.command("use")
def profiles_use(name: Annotated[str, typer.Argument(help="Name of the profile.")]) -> None:
    """Use this login from now on."""
    with profiles.changing() as held:
        _require(held[0], name)
        held[0] = msgspec.structs.replace(held[0], current=name)


@profile_commands.command("remove")
def profiles_remove(name: Annotated[str, typer.Argument(help="Name of the profile.")]) -> None:
    """Forget a login, and the keys that were made for it."""
    _require(profiles.load(), name)
    _forget(name)


def _require(config: profiles.Config, name: str) -> None:
    if name not in config.profiles:
        known = ", ".join(sorted(config.profiles)) or "none"
        raise CommandError(
            f"there is no profile {name!r}", code=NOT_FOUND, hint=f"There are: {known}"
        )


@org_commands.command("list")
def orgs_list(context: typer.Context, *, as_json: JsonFlag = False) -> None:
    """List the organizations that you are in."""
    with session_of(context).portal() as portal:
        rows: list[dict[str, Any]] = portal.get("orgs")["results"]
    columns: list[output.Column] = [
        ("ORGANIZATION", lambda row: row["slug"]),
        ("NAME", lambda row: row["name"]),
        ("ROLE", lambda row: row["role"]),
    ]
    output.listing(rows, columns, as_json=as_json)


@org_commands.command("use")
def orgs_use(
    context: typer.Context, slug: Annotated[str, typer.Argument(help="Its short name.")]
) -> None:
    """Work in this organization from now on."""
    session = session_of(context)
    profile = session.profile()
    with session.portal() as portal:
        portal.get(f"orgs/{slug}")
    chosen = msgspec.structs.replace(profile, organization=slug, cluster=None)
    with profiles.changing() as held:
        held[0] = profiles.with_profile(held[0], session.name, chosen)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    example = examples(
        "aerolith login --portal https://portal.example.com",
        "aerolith --profile work login --portal https://db.work.example --token-file token.txt",
    )
    app.command(epilog=example)(login)
    app.command()(logout)
    app.add_typer(profile_commands, name="profiles")
    app.add_typer(org_commands, name="orgs")
