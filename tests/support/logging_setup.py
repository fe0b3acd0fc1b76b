"""The operator's logging for the length of a test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from sendense_operator.logs import LogFormat, setup_logging


@contextmanager
def configured_logging(
    program: str, level: str, stream: TextIO | None = None, log_format: LogFormat | None = None
) -> Iterator[None]:
    """`setup_logging`, with the root logger afterwards as before."""
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level
    setup_logging(program, level, stream, log_format=log_format)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
