"""Logging of all programs: one line per record, as JSON or as text, with the Backup's name in it.

{"time": "2025-10-05T12:00:00.123Z", "level": "INFO", "logger": "sendense_operator.worker", "program": "worker",
"backup": "shop/db-1", "event": "layer verified", "disk": 0}  (on one line)

2025-10-05T12:00:00.123Z INFO worker backup=shop/db-1 sendense_operator.worker: layer verified disk=0

Records of libraries pass the same handler and get the same form.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from structlog.contextvars import bind_contextvars, bound_contextvars, get_contextvars
from structlog.processors import format_exc_info
from structlog.stdlib import BoundLogger, ProcessorFormatter, filter_by_level
from structlog.typing import EventDict, WrappedLogger

from sendense_operator.object_key import ObjectKey

LogFormat = Literal["json", "text"]
"""`json` for what collects logs, `text` for terminals."""

AUDIT: Final = "sendense.audit"
"""Logger of who did what: written whatever the level is."""

# These write URLs (with vCenter credentials in the query), headers and bodies at INFO or DEBUG.
_TALKATIVE: Final = ("httpx", "httpcore", "kubernetes", "urllib3", "aiohttp.access", "uvicorn.access")
_NONE: Final = "-"
_OWN: Final = frozenset({"time", "level", "logger", "program", "backup", "event", "exception", "stack"})
"""Keys that no field may take: one of that name is written as `field_NAME`."""
# What structlog and `_to_record` keep beside the event and its fields.
_INTERNAL: Final = frozenset({"event", "exc_info", "stack_info", "_record", "_from_structlog"})


def get_logger(name: str) -> BoundLogger:
    """Return a logger whose methods take an event and its fields: `log.info("committed", manifest=path)`.

    An event is constant text; what differs from one record to the next goes into fields. A field that is None is
    left out. Where no handler of ours is installed, as in tests, records are stdlib records with the text form.
    """
    return BoundLogger(logging.getLogger(name), [filter_by_level, _to_record], {})


def silence_http_loggers() -> None:
    """Keep URLs, headers and bodies of HTTP calls out of the logs, whatever the level is."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def backup_context(namespace: str, name: str) -> AbstractContextManager[None]:
    """Put `backup=NAMESPACE/NAME` on every log line of this task (and of those it starts) within a `with` block."""
    return bound_contextvars(backup=str(ObjectKey(namespace, name)))


def set_backup(namespace: str, name: str) -> None:
    """Do what `backup_context` does, for a program that lives for one Backup."""
    bind_contextvars(backup=str(ObjectKey(namespace, name)))


def setup_logging(
    program: str, level: str = "INFO", stream: TextIO | None = None, *, log_format: LogFormat | None = None
) -> None:
    """Configure the root logger of a program (`controller`, `worker`, `gateway`, `rest`).

    `level`: a name of the logging module. Raises ValueError for another one. `log_format`: without it text for a
    terminal, else JSON.
    """
    out = stream or sys.stderr
    render = _render_text if (log_format or ("text" if out.isatty() else "json")) == "text" else _render_json

    def collect(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return _collect(program, event)

    handler = logging.StreamHandler(out)
    handler.setFormatter(ProcessorFormatter(processors=[collect, render]))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    silence_http_loggers()


def emit_line(text: str, stream: TextIO | None = None) -> None:
    """Write a line of data to stdout at once; no record of this process's log lands within it. Raises OSError."""
    out = stream or sys.stdout
    with ExitStack() as held:
        for handler in logging.getLogger().handlers:
            handler.acquire()
            held.callback(handler.release)
        out.write(text + "\n")
        out.flush()


class _Message(dict[str, Any]):
    """Message of a record: its event and fields. As a string it is text, for handlers that are not ours."""

    def __str__(self) -> str:
        return _text(str(self["event"]), {key: value for key, value in self.items() if key not in _INTERNAL})


def _to_record(logger: WrappedLogger, method: str, event: EventDict) -> Any:
    """Return what the stdlib logger is called with; `_logger` and `_name` are how ProcessorFormatter knows its own."""
    options: dict[str, Any] = {"extra": {"_logger": logger, "_name": method}}
    if event.get("exc_info"):
        options["exc_info"] = event["exc_info"]
    return (_Message(event),), options


def _collect(program: str, event: EventDict) -> EventDict:
    """Return the line's keys in their order: ours first, then the fields, which can't replace ours."""
    record: logging.LogRecord = event["_record"]
    line: EventDict = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "level": record.levelname,
        "logger": record.name,
        "program": program,
        "backup": get_contextvars().get("backup"),
        "event": _one_line(str(event["event"])),
    }
    for key, value in event.items():
        if key not in _INTERNAL and value is not None:
            line[f"field_{key}" if key in _OWN else key] = _plain(value)
    # Plain tracebacks: those of structlog.dev show local variables, and so passwords.
    line.update(format_exc_info(None, "", {"exc_info": event.get("exc_info")}))
    line["stack"] = event.get("stack_info")
    return line


def _render_json(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    # Line ends in a traceback are JSON's own escapes, so jq shows it as Python would.
    for key in ("exception", "stack"):
        if line.get(key):
            line[key] = "\n".join(map(_escape, _lines(line[key])))
    return json.dumps({_one_line(key): value for key, value in line.items() if value is not None}, ensure_ascii=False)


def _render_text(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    fields = {key: value for key, value in line.items() if key not in _OWN}
    head = f"{line['time']} {line['level']} {line['program']} backup={line['backup'] or _NONE} {line['logger']}:"
    parts = (f"{head} {_text(line['event'], fields)}", line.get("exception"), line["stack"])
    return _one_line("\n".join(filter(None, parts)))


def _text(event: str, fields: dict[str, Any]) -> str:
    """`event key=value key2="two words"`. A field that is None is left out."""
    return " ".join([event, *(f"{key}={_quoted(value)}" for key, value in fields.items() if value is not None)])


def _plain(value: object) -> str | int | float:
    """Return what JSON has a form for, else text on one line."""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _one_line(str(value))


def _quoted(value: object) -> str:
    text = str(value)
    plain = text != "" and not any(char.isspace() or char in '"=' for char in text)
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _one_line(text: str) -> str:
    """Text from outside must not be able to make a line of its own, nor steer a terminal."""
    return _escape(" | ".join(_lines(text)))


def _lines(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.strip())


def _escape(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
