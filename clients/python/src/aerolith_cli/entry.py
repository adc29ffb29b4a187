"""Where the program begins: it needs more packages than the client does, and says so."""

import importlib.util
import sys
from collections.abc import Sequence

from aerolith_cli import exits


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    if importlib.util.find_spec("typer") is None or importlib.util.find_spec("rich") is None:
        sys.stderr.write("error: the command line needs more: pip install 'aerolith[cli]'\n")
        return exits.FAILED
    from aerolith_cli.app import run  # noqa: PLC0415 - it imports what may be absent

    return run(sys.argv[1:] if arguments is None else arguments)
