"""How far a start has come, told to the terminal and to whoever waits for it."""

import json
from collections.abc import Callable

from portal.commands.state import Installation, State


class Progress:
    """Writes `run/progress.json`, which `up --detach --wait` and `status` read."""

    def __init__(self, installation: Installation, tell: Callable[[str], None]) -> None:
        self._file = installation.run / "progress.json"
        self._tell = tell
        self._url = ""
        self._portal_is_ready = False
        self._is_ready = False
        self._demo_error: str | None = None
        self._warnings: list[str] = []
        self.error: str | None = None

    def begin(self, state: State) -> None:
        """Say where the portal is going to be."""
        self._url = f"http://localhost:{state.portal_port}/"
        self._write()

    def tell(self, text: str) -> None:
        """Say one line about what happens."""
        self._tell(f"aerolith: {text}")

    def warn(self, text: str) -> None:
        """Say what works but should be mended; whoever waits for the start repeats it."""
        self._warnings.append(text)
        self._write()
        self.tell(f"warning: {text}")

    def portal_ready(self) -> None:
        """The portal answers; the demonstration may still be on its way."""
        self._portal_is_ready = True
        self._write()
        self.tell(f"the portal is ready at {self._url}")

    def all_ready(self) -> None:
        """Everything that was asked for is there."""
        self._is_ready = True
        self._write()
        self.tell("everything is ready")

    def fail(self, text: str) -> None:
        """The start is given up."""
        self.error = text
        self._write()
        self.tell(f"the start failed: {text}")

    def demo_failed(self, text: str) -> None:
        """The portal serves, but the demonstration is missing; the next start tries again."""
        self._demo_error = text
        self._write()
        self.tell(text)

    def end(self) -> None:
        """Nothing runs any more."""
        self._portal_is_ready = self._is_ready = False
        self._write()
        self.tell("all processes have ended")

    def _write(self) -> None:
        staging = self._file.with_name(self._file.name + ".new")
        content = {
            "url": self._url,
            "portal_ready": self._portal_is_ready,
            "ready": self._is_ready,
            "error": self.error,
            "demo_error": self._demo_error,
            "warnings": self._warnings,
        }
        staging.write_text(json.dumps(content))
        staging.replace(self._file)
