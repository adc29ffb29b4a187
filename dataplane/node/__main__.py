"""Run a node: python -m dataplane.node --spec FILE."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from dataplane.client.errors import SpecError
from dataplane.client.spec import NodeSpec, load_spec
from dataplane.node.app import LOOPBACK, Node
from dataplane.node.logs import set_up_logs
from dataplane.security.errors import EncryptionError, KeyFileError
from dataplane.storage.errors import StorageError

EXIT_USAGE = 2
EXIT_STORAGE = 4


async def _run(path: Path, spec: NodeSpec, make_node: Callable[[NodeSpec], Node]) -> int:
    node = make_node(spec)
    node.respec = lambda: load_spec(path)
    return await node.run()


def _event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(spec_path: Path, make_node: Callable[[NodeSpec], Node] = Node) -> int:
    """Run the node of a specification to its end; return the exit code."""
    if not __debug__:
        sys.stderr.write("python -O removes the checks a node relies on; run it without\n")
        return EXIT_USAGE
    try:
        spec = load_spec(spec_path)
    except SpecError as error:
        sys.stderr.write(f"the specification cannot be used: {error}\n")
        return EXIT_USAGE
    if spec.me.host not in LOOPBACK:
        sys.stderr.write("the gateway has no TLS of its own yet: host must be a loopback address\n")
        return EXIT_USAGE
    set_up_logs(spec.cluster_id, spec.node_id)
    try:
        with asyncio.Runner(loop_factory=_event_loop) as runner:
            return runner.run(_run(spec_path, spec, make_node))
    except (KeyFileError, EncryptionError, StorageError, OSError) as error:
        logging.getLogger(__name__).critical("node.cannot_run", extra={"reason": str(error)})
        return EXIT_STORAGE


def main() -> int:
    """Parse the command line and run the node."""
    parser = argparse.ArgumentParser(prog="python -m dataplane.node", description=__doc__)
    parser.add_argument("--spec", required=True, type=Path, help="the node's specification file")
    return run(parser.parse_args().spec)


if __name__ == "__main__":
    sys.exit(main())
