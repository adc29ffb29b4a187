"""A process with an outbox that kills itself at one step: `SPEC` is JSON on the command line."""

import json
import os
import signal
import sys
from collections.abc import Callable

from dataplane.client import Client, Outbox

PLANNED = 4


class Fuse:
    """Kills this process, without warning, at the given step."""

    def __init__(self, steps: int | None) -> None:
        self.left = steps

    def step(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around[**P, R](self, work: Callable[P, R]) -> Callable[P, R]:
        def run(*arguments: P.args, **options: P.kwargs) -> R:
            self.step()
            result = work(*arguments, **options)
            self.step()
            return result

        return run


def run(spec: dict) -> None:
    """Queue what is still to be queued, then flush: before and after every write and request."""
    fuse = Fuse(spec["steps"])
    with Outbox(spec["path"]) as outbox, Client(spec["urls"], spec["key"]) as client:
        outbox.store._commit = fuse.around(outbox.store._commit)
        client._http.request = fuse.around(client._http.request)
        collection = spec["collection"]
        while (count := outbox.store.queued_count) < PLANNED:
            match count:
                case 0:
                    outbox.put(collection, "x", {"seen": [], "n": 0})
                case 1:
                    outbox.update(collection, "x", {"$inc": {"n": 1}, "$push": {"seen": 1}})
                case 2:
                    outbox.patch(collection, "x", {"patched": True})
                case _:
                    outbox.put(collection, "taken", {"mine": True})
        report = outbox.flush(client)
        if report.stopped is not None:
            raise report.stopped


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
