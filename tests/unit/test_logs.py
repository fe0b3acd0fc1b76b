import ast
import asyncio
import contextvars
import io
import json
import logging
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kopf  # noqa: F401 - it configures loggers of its own
import pytest
from tests.support.logging_setup import configured_logging

from sendense_operator import logs
from sendense_operator.logs import AUDIT, LogFormat, backup_context, emit_line, get_logger, set_backup, setup_logging


@contextmanager
def logging_to(stream: io.StringIO, log_format: LogFormat | None) -> Iterator[io.StringIO]:
    with configured_logging("worker", "info", stream, log_format):
        yield stream


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with logging_to(io.StringIO(), "text") as stream:
        yield stream


@pytest.fixture
def objects() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged so far as JSON."""
    with logging_to(io.StringIO(), "json") as stream:
        yield lambda: [json.loads(line) for line in stream.getvalue().split("\n")[:-1]]


def test_one_line_with_the_backup(stream: io.StringIO) -> None:
    with backup_context("shop", "db-1"):
        logging.getLogger("sendense").info("disk=%d complete", 0)
    logging.getLogger("sendense").warning("other")
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO worker backup=shop/db-1 sendense: disk=0 complete", first
    )
    assert " WARNING worker backup=- sendense: other" in second


def test_who_did_what_is_reported_at_any_level(stream: io.StringIO) -> None:
    setup_logging("gateway", "ERROR", stream, log_format="text")
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


def test_fields(stream: io.StringIO) -> None:
    get_logger("x").info("event", a=1, b="x y", c=None, d="", e='q"=\\')
    assert stream.getvalue().rstrip().endswith(r': event a=1 b="x y" d="" e="q\"=\\"')


def test_a_record_is_text_for_other_handlers_too(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        get_logger("x").exception("failed", disk=0, path=Path("/a b"), other=None)
    (record,) = caplog.records
    assert record.getMessage() == 'failed disk=0 path="/a b"'
    assert record.exc_info and "boom" in caplog.text


def test_what_is_below_the_level_is_not_made(stream: io.StringIO) -> None:
    get_logger("x").debug("event", field=Unprintable())
    assert stream.getvalue() == ""


class Unprintable:
    def __str__(self) -> str:
        raise AssertionError


def test_json(objects: Callable[[], list[dict[str, Any]]]) -> None:
    with backup_context("shop", "db-1"):
        get_logger("sendense").info("copied", disk=0, seconds=0.5, whole=True, path=Path("/a"), none=None, odd=math.nan)
    logging.getLogger("library").warning("disk=%d", 0)
    own, library = objects()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", own.pop("time"))
    assert own == {
        "level": "INFO", "logger": "sendense", "program": "worker", "backup": "shop/db-1", "event": "copied",
        "disk": 0, "seconds": 0.5, "whole": True, "path": "/a", "odd": "nan",
    }  # fmt: skip
    assert list(library) == ["time", "level", "logger", "program", "event"]
    assert (library["level"], library["logger"], library["event"]) == ("WARNING", "library", "disk=0")


def test_a_worker_is_of_one_backup(objects: Callable[[], list[dict[str, Any]]]) -> None:
    def work() -> None:
        set_backup("shop", "db-1")
        get_logger("x").info("event")

    contextvars.copy_context().run(work)
    get_logger("x").info("event")
    assert [line.get("backup") for line in objects()] == ["shop/db-1", None]


OUTSIDE = "a\nb\r\x00\x1b[31m\x85\u2028c\u202ed\u200b\ud800"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_text_from_outside_makes_a_line_or_steers_a_terminal(log_format: LogFormat) -> None:
    with logging_to(io.StringIO(), log_format) as stream:
        logging.getLogger("x").info(OUTSIDE)
        get_logger("x").info("event", field=OUTSIDE, error=ValueError(OUTSIDE), **{OUTSIDE: 1})
        try:
            raise RuntimeError(OUTSIDE)
        except RuntimeError:
            get_logger("x").exception("failed")
    assert len(stream.getvalue().splitlines()) == 3
    assert all(line.isprintable() for line in stream.getvalue().splitlines())
    if log_format == "json":
        # nor where a reader prints a value as it is (jq -r)
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert all(str(text).isprintable() for line in lines for pair in line.items() for text in pair[:1])
        values = [str(value) for line in lines for key, value in line.items() if key != "exception"]
        assert all(value.isprintable() for value in values)
        assert lines[1]["field"].startswith("a | b")
        assert all(row.isprintable() for row in lines[2]["exception"].split("\n"))


def test_a_field_never_replaces_what_is_ours(objects: Callable[[], list[dict[str, Any]]]) -> None:
    ours = {"time": "x", "level": "x", "logger": "x", "program": "x", "backup": "x/y", "exception": "x", "stack": "x"}
    with backup_context("shop", "db-1"):
        get_logger("sendense").info("happened", **ours)
    (line,) = objects()
    assert (line["level"], line["logger"], line["program"]) == ("INFO", "sendense", "worker")
    assert (line["backup"], line["event"]) == ("shop/db-1", "happened")
    assert "exception" not in line and line["time"] != "x"
    assert {key.removeprefix("field_"): line[key] for key in line if key.startswith("field_")} == ours


def test_an_exception_is_one_field(objects: Callable[[], list[dict[str, Any]]]) -> None:
    hidden = "canary"  # a local variable, which a traceback must not show
    for log in (get_logger("x"), logging.getLogger("x")):
        try:
            raise RuntimeError(f"boom {len(hidden)}")
        except RuntimeError as error:
            log.exception("failed")
            log.error("again", exc_info=error)
    assert [line["event"] for line in objects()] == ["failed", "again"] * 2
    for line in objects():
        assert line["exception"].startswith("Traceback (most recent call last):\n")
        assert line["exception"].endswith("\nRuntimeError: boom 6")
        assert "canary" not in str(line)


@pytest.mark.parametrize(("terminal", "start"), [(True, "2"), (False, "{")])
def test_the_format_without_a_setting(terminal: bool, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    with logging_to(stream, None):
        get_logger("x").info("event")
    assert stream.getvalue().startswith(start)


def test_the_audit_is_written_at_any_level_in_json_too() -> None:
    with logging_to(io.StringIO(), "json") as stream:
        logging.getLogger().setLevel("ERROR")
        get_logger("sendense").info("other")
        get_logger(AUDIT).info("request", audit="list", user="a b", status=200)
        line = json.loads(stream.getvalue())
    assert (line["logger"], line["audit"], line["user"], line["status"]) == (AUDIT, "list", "a b", 200)


@pytest.mark.parametrize("name", ["kopf", "kopf.objects", "uvicorn", "uvicorn.error", "asyncio", "aiohttp"])
def test_a_record_of_a_library_is_one_line(objects: Callable[[], list[dict[str, Any]]], name: str) -> None:
    logging.getLogger(name).error("failed", extra={"level": "x", "backup": "x/y"})
    (line,) = objects()
    assert (line["level"], line["logger"], line["event"]) == ("ERROR", name, "failed")
    assert "backup" not in line


def calls() -> Iterator[tuple[str, ast.Call]]:
    package = Path(logs.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                target = node.func.value
                if isinstance(target, ast.Name) and target.id in ("log", "_log", "audit_log"):
                    yield f"{path.relative_to(package)}:{node.lineno}", node


def test_events_are_constant_and_fields_have_names_of_their_own() -> None:
    """A value within the event could not be searched for, and a positional argument would be lost."""
    found = dict(calls())
    assert len(found) > 80
    for place, call in found.items():
        assert isinstance(call.func, ast.Attribute)
        events = call.args[1:] if call.func.attr == "log" else call.args
        assert [type(event) for event in events] == [ast.Constant], place
        assert not {keyword.arg for keyword in call.keywords} & logs._OWN, place


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
