"""Structured logs: one JSON object a line, with the request it belongs to."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import override

request_id: ContextVar[str] = ContextVar("request_id", default="")
organization: ContextVar[str] = ContextVar("organization", default="")
user: ContextVar[str] = ContextVar("user", default="")
address: ContextVar[str] = ContextVar("address", default="")

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class ContextFilter(logging.Filter):
    """Adds who and which request to each record."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        for name, variable in (
            ("request_id", request_id),
            ("organization", organization),
            ("user", user),
        ):
            if value := variable.get():
                setattr(record, name, value)
        return True


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        hidden = {*_STANDARD, "request"}
        entry |= {name: value for name, value in vars(record).items() if name not in hidden}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)
