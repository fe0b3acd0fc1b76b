import asyncio
import io
import logging
import re
import threading
from collections.abc import Callable, Iterator

import pytest

from sendense_operator.logs import AUDIT, backup_context, emit_line, kv, setup_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    setup_logging("worker", "info", stream)
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_one_line_with_the_backup(stream: io.StringIO) -> None:
    with backup_context("shop", "db-1"):
        logging.getLogger("sendense").info("disk=%d complete", 0)
    logging.getLogger("sendense").warning("other")
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO worker backup=shop/db-1 sendense: disk=0 complete", first
    )
    assert " WARNING worker backup=- sendense: other" in second


def test_who_did_what_is_told_at_any_level(stream: io.StringIO) -> None:
    setup_logging("gateway", "ERROR", stream)
    logging.getLogger("sendense").info("other")
    logging.getLogger(AUDIT).info("audit=list")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("INFO gateway backup=- sendense.audit: audit=list")


def test_text_from_outside_makes_no_line(stream: io.StringIO) -> None:
    logging.getLogger("x").info("a\nb\x1b[31m\u2028c\rd")
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_traceback_stays_on_the_line(stream: io.StringIO) -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("x").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "RuntimeError: boom" in line


async def test_tasks_keep_their_own_backup(stream: io.StringIO) -> None:
    async def work(name: str) -> None:
        with backup_context("ns", name):
            await asyncio.sleep(0)
            logging.getLogger("x").info("from %s", name)

    await asyncio.gather(work("a"), work("b"))
    assert sorted(line.split("backup=")[1] for line in stream.getvalue().splitlines()) == [
        "ns/a x: from a",
        "ns/b x: from b",
    ]


@pytest.mark.parametrize("name", ["httpx", "httpcore.connection", "kubernetes.client.rest", "urllib3.connectionpool"])
def test_http_libraries_are_silent(stream: io.StringIO, name: str) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger(name).info("GET http://vma/?password=canary")
    assert stream.getvalue() == ""


def test_kv() -> None:
    assert kv(a=1, b="x y", c=None, d="", e='q"=\\') == r'a=1 b="x y" d="" e="q\"=\\"'


def test_unknown_level() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        setup_logging("x", "loud")


class Interrupted(io.StringIO):
    """Starts somebody else in the middle of a line."""

    def __init__(self, other: Callable[[], None]) -> None:
        super().__init__()
        self._other = threading.Thread(target=other)

    def write(self, text: str) -> int:
        super().write(text[:5])
        self._other.start()
        self._other.join(0.1)
        super().write(text[5:])
        return len(text)

    def flush(self) -> None:
        self.is_flushed = True


def test_no_record_lands_in_a_line_of_data(stream: io.StringIO) -> None:
    both = Interrupted(lambda: logging.getLogger("x").info("hello"))
    (handler,) = [item for item in logging.getLogger().handlers if getattr(item, "stream", None) is stream]

    def write_through(record: logging.LogRecord) -> None:
        io.StringIO.write(both, handler.format(record) + "\n")

    handler.emit = write_through  # type: ignore[method-assign]
    emit_line("data and more data", both)
    both._other.join()
    first, second = both.getvalue().splitlines()
    assert first == "data and more data"
    assert second.endswith("hello")
    assert both.is_flushed


def test_data_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    emit_line("data")
    assert capsys.readouterr() == ("data\n", "")
