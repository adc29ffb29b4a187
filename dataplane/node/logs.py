"""JSON lines on standard error: the event first, then its fields; never secrets or documents."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, override

from dataplane.gateways.tracing import TRACE

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({})))


class JsonFormatter(logging.Formatter):
    """One JSON object a record."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__()
        self._fields = fields

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **self._fields,
        }
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
        trace = TRACE.get()
        if trace is not None:
            line["trace_id"] = trace.trace_id
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logs(cluster_id: str, node_id: int) -> None:
    """Send every log of the process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter({"cluster": cluster_id, "node": node_id}))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
