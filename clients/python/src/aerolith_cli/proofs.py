"""Proofs, checked without any connection."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from aerolith_cli import output
from aerolith_cli.inputs import opened
from aerolith_cli.options import AnchorFile, examples
from aerolith_cli.session import session_of
from dataplane.client.anchors import TrustAnchor, dump_anchor, load_anchor_file
from dataplane.client.evidence import EVIDENCE_BYTES_MAX, verify_evidence
from dataplane.client.proofs import PROOF_BYTES_MAX, verify_answer
from dataplane.client.spec import load_spec

ProofFile = Annotated[Path, typer.Argument(metavar="FILE", help="- reads standard input.")]


def _read(path: Path, bytes_max: int) -> bytes:
    with opened(path) as file:
        return file.read(bytes_max + 1)


def verify(file: ProofFile, *, anchor: AnchorFile) -> None:
    """Check the proof in an answer of a node; exits with 1 when it proves nothing.

    This asks nobody: it needs the answer and the public keys of the cluster's nodes.
    """
    proven = verify_answer(_read(file, PROOF_BYTES_MAX), load_anchor_file(anchor))
    output.line(f"PROVEN. {proven.in_words()}")
    if proven.document is not None:
        output.json_value(proven.document)


def check_evidence(file: ProofFile, *, anchor: AnchorFile) -> None:
    """Check a proof that a node lied; exits with 1 when it proves nothing."""
    proven = verify_evidence(_read(file, EVIDENCE_BYTES_MAX), load_anchor_file(anchor))
    output.line(f"PROVEN. {proven.in_words()}")


def anchor(
    context: typer.Context,
    *,
    spec: Annotated[
        Path | None, typer.Option(help="A node's specification, instead of the portal's word.")
    ] = None,
) -> None:
    """Print the trust anchor of the cluster in use: whose signatures prove what it holds."""
    if spec is not None:
        output.line(dump_anchor(TrustAnchor.of_spec(load_spec(spec))).decode().rstrip())
        return
    session = session_of(context)
    with session.portal() as portal:
        told = portal.get(f"{session.place(portal)}/connection/anchor")
    found = msgspec.convert(told, TrustAnchor)
    output.line(dump_anchor(found).decode().rstrip())


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "aerolith anchor > anchor.json",
            "aerolith get orders o-17 --proof > answer.json",
            "aerolith verify answer.json --anchor anchor.json",
        )
    )(verify)
    app.command("verify-evidence")(check_evidence)
    app.command()(anchor)
