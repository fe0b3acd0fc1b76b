import asyncio
import gzip
import io
import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.logging_setup import configured_logging

from sendense_operator.logs import LogFormat, get_logger, setup_logging
from sendense_operator.vma.credentials import Credentials
from sendense_operator.vma.errors import StartUnknown, VMAError, VMAGarbage, VMARefused, VMAUnreachable
from sendense_operator.vma.messages import MAX_VMS, VMAStartRequest
from sendense_operator.vma.vma_client import VMAClient

PASSWORD = 'canary &/"1'
CREDENTIALS = Credentials("backup@vsphere.local", PASSWORD)
JOB = "backup-0b6f6b0e-6c2b-4b1c-9a53-0f7d2a1c9e11"
REQUEST = VMAStartRequest(
    job_id=JOB,
    vm_name="pg",
    vm_path="/DC1/vm/pg",
    vcenter_host="vc",
    nbd_targets="2000:nbd://h:1/x-disk0",
    backup_type="full",
)
Handler = Callable[[httpx.Request], httpx.Response]


class Script(httpx.AsyncBaseTransport):
    """Answers one call after the other with what it was given; the last one for ever."""

    def __init__(self, *steps: httpx.Response | Exception | Handler) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        if isinstance(step, httpx.Response):
            return httpx.Response(step.status_code, headers=step.headers, content=step.content)
        return step(request)


def client(*steps: httpx.Response | Exception | Handler, **more: Any) -> tuple[VMAClient, Script, list[float]]:
    script, slept = Script(*steps), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return VMAClient("http://vma:8081/", transport=script, sleep=sleep, **more), script, slept


def answer(value: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=json.dumps(value).encode())


HEALTH = answer({"status": "healthy", "timestamp": "x", "uptime": 5, "new": [1]})
STARTED = answer({"job_id": JOB, "status": "started", "message": "", "started_at": "", "pid": 7})
REFUSED = httpx.ConnectError("refused")


async def test_health() -> None:
    vma, script, _ = client(HEALTH)
    async with vma:
        assert (await vma.health()).status == "healthy"
    assert str(script.requests[0].url) == "http://vma:8081/api/v1/health"


@pytest.mark.parametrize(
    ("first", "tries"),
    [
        (REFUSED, 3),
        (httpx.ConnectTimeout("slow"), 3),
        (httpx.ReadError("reset"), 3),
        (httpx.RemoteProtocolError("closed"), 3),
        (httpx.Response(502), 3),
        (httpx.Response(503), 3),
        (httpx.Response(504), 3),
        (httpx.ReadTimeout("silent"), 1),
    ],
)
async def test_reads_are_tried_again_where_it_may_help(first: httpx.Response | Exception, tries: int) -> None:
    vma, script, slept = client(first)
    with pytest.raises(VMAUnreachable):
        await vma.health()
    assert len(script.requests) == tries
    assert slept == [0.5, 2.0][: tries - 1]
    vma, script, _ = client(first, HEALTH)
    if tries > 1:
        assert (await vma.health()).status == "healthy"
        assert len(script.requests) == 2


async def test_cbt_status_escapes_the_path_twice() -> None:
    vma, script, _ = client(answer({"enabled": True, "vm_name": "", "power_state": "on", "vm_path": "x"}))
    assert (await vma.cbt_status(CREDENTIALS, "vc", "/DC1/vm/ä b%2f?#x")).enabled
    path = script.requests[0].url.raw_path.split(b"?")[0]
    assert path == b"/api/v1/vms/%252FDC1%252Fvm%252F%25C3%25A4%2520b%25252f%253F%2523x/cbt-status"
    assert dict(script.requests[0].url.params) == {
        "vcenter": "vc",
        "username": CREDENTIALS.username,
        "password": PASSWORD,
    }


async def test_discover() -> None:
    disks = [{"id": "disk-2000", "label": "Hard disk 1", "capacity_bytes": 1 << 30, "unit_number": 0, "x": 1}]
    vms = [
        {"id": "u", "name": "pg", "path": "/DC1/vm/pg", "disks": disks, "networks": None},
        {"name": "none", "path": "/DC1/vm/none", "disks": None},
        {"id": "v", "name": "bad", "path": "/DC1/vm/bad", "disks": [{"id": "disk-1", "capacity_bytes": "much"}]},
        "not even an object",
        {"id": 1, "path": [], "name": "odd"},
    ]
    vma, script, _ = client(answer({"vcenter": {}, "vms": vms}))
    inventory = await vma.discover(CREDENTIALS, "vc", "DC1")
    assert [vm.path for vm in inventory.vms] == ["/DC1/vm/pg", "/DC1/vm/none"]
    assert [(broken.id, broken.path) for broken in inventory.broken] == [("v", "/DC1/vm/bad"), ("", ""), ("", "")]
    assert inventory.broken[0].message.startswith("vms[2].disks[0].capacity_bytes: ")
    sent = json.loads(script.requests[0].content)
    assert sent == {
        "vcenter": "vc",
        "username": CREDENTIALS.username,
        "password": PASSWORD,
        "datacenter": "DC1",
    }


async def test_discover_without_vms_and_with_a_filter() -> None:
    vma, script, _ = client(answer({"vms": None}))
    assert (await vma.discover(CREDENTIALS, "vc", "DC1", "pg")).vms == ()
    assert json.loads(script.requests[0].content)["filter"] == "pg"


@pytest.mark.parametrize(
    ("body", "field"),
    [(b"<html>", "Invalid JSON"), (b"{}", "vms"), (b"[]", "object"), (b'{"vms": 5}', "vms"), (b"", "Invalid JSON")],
)
async def test_garbage_names_the_field(body: bytes, field: str) -> None:
    vma, _, _ = client(httpx.Response(200, content=body))
    with pytest.raises(VMAGarbage, match=field):
        await vma.discover(CREDENTIALS, "vc", "DC1")


async def test_endless_answer() -> None:
    vma, _, _ = client(httpx.Response(200, content=b" " * (2 << 20)))
    with pytest.raises(VMAGarbage, match="larger than"):
        await vma.health()


async def test_compressed_answer_is_refused_unread() -> None:
    packed = gzip.compress(HEALTH.content)
    coded = {"Content-Encoding": "gzip"}
    vma, _, _ = client(lambda _: httpx.Response(200, headers=coded, stream=httpx.ByteStream(packed)))
    with pytest.raises(VMAGarbage, match="compressed"):
        await vma.health()
    vma, _, _ = client(lambda _: httpx.Response(400, headers=coded, stream=httpx.ByteStream(packed)))
    with pytest.raises(VMARefused, match="compressed"):
        await vma.health()


@pytest.mark.parametrize(
    ("vms", "why"),
    [(f"[{'0,' * MAX_VMS}0]", "at most"), (f"[[{'0,' * 1_000_000}0]]", "more than 1000000 values")],
)
async def test_inventory_of_too_many_values(vms: str, why: str) -> None:
    vma, _, _ = client(httpx.Response(200, content=f'{{"vms": {vms}}}'.encode()))
    with pytest.raises(VMAGarbage, match=why):
        await vma.discover(CREDENTIALS, "vc", "DC1")


async def test_progress() -> None:
    """Its being there is a sign of life, whatever a build says in it."""
    records: tuple[dict[str, object], ...] = (
        {"phase": "Transfer", "percentage": 4},
        {"phase": None, "total_bytes": 1.5, "disks": []},
    )
    vma, script, _ = client(httpx.Response(404, text="job not found"), *map(answer, records))
    assert await vma.progress(JOB) is None
    assert await vma.progress(JOB) is not None
    assert await vma.progress(JOB) is not None
    assert script.requests[0].url.path == f"/api/v1/progress/{JOB}"


async def test_start() -> None:
    vma, script, _ = client(STARTED)
    assert (await vma.start(REQUEST, CREDENTIALS)).pid == 7
    assert json.loads(script.requests[0].content) == {
        "job_id": JOB,
        "vm_name": "pg",
        "vm_path": "/DC1/vm/pg",
        "vcenter_host": "vc",
        "vcenter_user": CREDENTIALS.username,
        "vcenter_password": PASSWORD,
        "nbd_targets": "2000:nbd://h:1/x-disk0",
        "backup_type": "full",
        "previous_change_id": "",
    }


async def test_start_is_tried_again_without_a_connection() -> None:
    vma, script, _ = client(REFUSED, httpx.ConnectTimeout("slow"), STARTED)
    assert (await vma.start(REQUEST, CREDENTIALS)).job_id == JOB
    assert len(script.requests) == 3
    vma, _, _ = client(REFUSED)
    with pytest.raises(VMAUnreachable, match="start"):
        await vma.start(REQUEST, CREDENTIALS)


@pytest.mark.parametrize(
    "step",
    [
        httpx.ReadTimeout("silent"),
        httpx.WriteError("reset"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
        httpx.Response(502),
        httpx.Response(503, text="upstream connect error"),
        httpx.Response(504),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, content=b" " * (2 << 20)),
        answer({"job_id": "backup-other"}),
    ],
)
async def test_start_that_may_have_arrived_is_never_repeated(step: httpx.Response | Exception) -> None:
    vma, script, _ = client(step, STARTED)
    with pytest.raises(StartUnknown, match="not known"):
        await vma.start(REQUEST, CREDENTIALS)
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("status", "text"),
    [(400, "Validation failed: x"), (500, "Process start failed: x")],
)
async def test_start_refused(status: int, text: str) -> None:
    vma, script, _ = client(httpx.Response(status, text=text), STARTED)
    with pytest.raises(VMARefused) as caught:
        await vma.start(REQUEST, CREDENTIALS)
    assert (caught.value.status, caught.value.text, len(script.requests)) == (status, text, 1)


async def test_whole_call_has_a_time_limit() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while not reader.at_eof():
            writer.write(b" ")
            try:
                async with asyncio.timeout(0.05):
                    await reader.read(1000)
            except TimeoutError:
                continue
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, VMAClient(f"http://127.0.0.1:{port}", timeout=0.3) as vma:
        with pytest.raises(VMAUnreachable, match=r"did not answer within 0\.3 s"):
            await vma.health()
        with pytest.raises(StartUnknown, match=r"within 0\.3 s"):
            await vma.start(REQUEST, CREDENTIALS)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with VMAClient(f"http://127.0.0.1:{taken.getsockname()[1]}", retry_delays=()) as vma:
            with pytest.raises(VMAUnreachable, match=r"can't be reached: .*onnect"):
                await vma.health()


@pytest.mark.parametrize(
    "url",
    ["", "vma:8081", "ftp://vma", "http://", "http://u:p@vma", "http://vma?x=1", "http://vma#x", "http://[::1", "/x"],
)
def test_bad_url(url: str) -> None:
    with pytest.raises(ValueError, match="VMA URL"):
        VMAClient(url)


async def test_redirects_are_not_followed() -> None:
    vma, script, _ = client(httpx.Response(307, headers={"Location": "http://evil/"}))
    with pytest.raises(VMARefused):
        await vma.discover(CREDENTIALS, "vc", "DC1")
    assert len(script.requests) == 1


def test_unreadable_ca_bundle(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        VMAClient("https://vma", ca_bundle=tmp_path / "none")


def echo(status: int) -> Handler:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=str(request.url).encode() + b"\x00\r\n" + request.content)

    return handler


def breaking(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError(f"broke: {request.url} {request.content.decode()}", request=request)


@pytest.fixture
def debug_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with configured_logging("test", "DEBUG"):
        logging.getLogger().addHandler(caplog.handler)
        yield caplog


@pytest.mark.parametrize("step", [echo(200), echo(500), breaking])
async def test_the_password_is_nowhere(step: Handler, debug_log: pytest.LogCaptureFixture) -> None:
    vma, _, _ = client(step)
    calls: list[Callable[[], Any]] = [
        lambda: vma.discover(CREDENTIALS, "vc", "DC1"),
        lambda: vma.cbt_status(CREDENTIALS, "vc", "/DC1/vm/x"),
        lambda: vma.start(REQUEST, CREDENTIALS),
    ]
    for call in calls:
        with pytest.raises(VMAError) as caught:
            await call()
        debug_log.clear()
        logging.getLogger("x").exception("failed", exc_info=caught.value)
        assert "canary" not in str(caught.value) + repr(caught.value) + debug_log.text
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("step", [echo(200), echo(500), breaking])
async def test_the_password_is_in_no_line_of_the_log(
    step: Handler, log_format: LogFormat, debug_log: pytest.LogCaptureFixture
) -> None:
    """Neither in an exception's text, nor in a field, nor in a record of the HTTP library."""
    stream = io.StringIO()
    setup_logging("test", "DEBUG", stream, log_format=log_format)
    vma, _, _ = client(step)
    with pytest.raises(VMAError) as caught:
        await vma.discover(CREDENTIALS, "vc", "DC1")
    log = get_logger("x")
    log.exception("failed", exc_info=caught.value)
    log.error("failed", error=caught.value, credentials=CREDENTIALS, request={"credentials": CREDENTIALS})
    logging.getLogger("httpx").info("GET http://vma/?password=canary")
    logging.getLogger("kopf").error("failed: %s", caught.value)
    lines = stream.getvalue().splitlines()
    assert len([line for line in lines if "failed" in line]) == 3
    assert "canary" not in stream.getvalue()


async def test_error_text_is_cut_and_cleaned() -> None:
    vma, _, _ = client(httpx.Response(500, content=b"a\x1b[31m\r\nb\xff" + "ö".encode() * 100_000))
    with pytest.raises(VMARefused) as caught:
        await vma.cbt_status(CREDENTIALS, "vc", "/x")
    assert caught.value.text.startswith("a[31m b\ufffdö")
    assert len(caught.value.text.encode()) <= 1024


async def test_vcenters_own_words() -> None:
    words = "Failed: ServerFaultCode: Cannot complete login due to an incorrect user name or password."
    vma, script, slept = client(httpx.Response(500, text=words + "\n"))
    with pytest.raises(VMARefused) as caught:
        await vma.cbt_status(CREDENTIALS, "vc", "/x")
    assert caught.value.text == words
    assert (len(script.requests), slept) == (1, [])
