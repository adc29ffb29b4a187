"""Free TCP ports of the loopback interface."""

import secrets
import socket
from contextlib import ExitStack, suppress
from typing import Final

# Below those of nodes, which are below the range of outgoing connections.
PORTS: Final = range(18_000, 20_000)


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def port_answers(port: int) -> bool:
    """Tell whether somebody accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports, all held open until the last is found.

    They lie where systems hand out none by themselves: a passing connection must not be able to
    take the port of a server that is down, which then could not start again.

    Raises:
        OSError: There are not so many.
    """
    assert 0 < count <= 64
    ports: list[int] = []
    with ExitStack() as stack:
        for _ in range(len(PORTS)):
            if len(ports) == count:
                return ports
            probe = stack.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("127.0.0.1", secrets.choice(PORTS)))
                ports.append(int(probe.getsockname()[1]))
    raise OSError(f"there are no {count} free ports on the loopback interface")
