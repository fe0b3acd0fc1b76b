"""Logging of all programs: one line a record, with the Backup's name on it.

2025-10-05T12:00:00.123Z INFO worker backup=shop/db-1 sendense_operator.worker: disk=0 complete
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Final, TextIO

from sendense_operator.object_key import ObjectKey

_NONE: Final = "-"
_backup: ContextVar[str] = ContextVar("backup", default=_NONE)

AUDIT: Final = "sendense.audit"
"""Logger of who did what: written whatever the level is."""

# These write URLs (with vCenter credentials in the query), headers and bodies at INFO or DEBUG.
_TALKATIVE: Final = ("httpx", "httpcore", "kubernetes", "urllib3", "aiohttp.access", "uvicorn.access")


def silence_http_loggers() -> None:
    """Keep URLs, headers and bodies of HTTP calls out of the logs, whatever the level is."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def backup_context(namespace: str, name: str) -> Iterator[None]:
    """Put `backup=NAMESPACE/NAME` on every log line of this task (and of those it starts)."""
    token = _backup.set(str(ObjectKey(namespace, name)))
    try:
        yield
    finally:
        _backup.reset(token)


def set_backup(namespace: str, name: str) -> None:
    """Do what `backup_context` does, for a program that lives for one Backup."""
    _backup.set(str(ObjectKey(namespace, name)))


def kv(**fields: object) -> str:
    """`key=value key2="two words"`: fields of a log line. None is left out."""
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items() if value is not None)


def setup_logging(program: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Configure the root logger of a program (`controller`, `worker`, `gateway`).

    `level`: a name of the logging module. Raises ValueError for another one.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_OneLine(program))
    handler.addFilter(_add_backup)
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


def _add_backup(record: logging.LogRecord) -> bool:
    if not hasattr(record, "backup"):
        record.backup = _backup.get()
    return True


class _OneLine(logging.Formatter):
    """Text from outside must not be able to make a line of its own."""

    converter = staticmethod(time.gmtime)

    def __init__(self, program: str) -> None:
        super().__init__(
            f"%(asctime)s.%(msecs)03dZ %(levelname)s {program} backup=%(backup)s %(name)s: %(message)s",
            "%Y-%m-%dT%H:%M:%S",
        )

    def format(self, record: logging.LogRecord) -> str:
        return _one_line(super().format(record))


def _one_line(text: str) -> str:
    joined = " | ".join(line for line in text.splitlines() if line.strip())
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in joined)


def _value(value: object) -> str:
    text = str(value)
    plain = text != "" and not any(char.isspace() or char in '"=' for char in text)
    return text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
