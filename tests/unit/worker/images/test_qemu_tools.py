import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.chains import ODD_KINDS, SIZE, head, odd, point

from sendense_operator.worker.errors import Reason, WorkerError
from sendense_operator.worker.images import qemu_tools
from sendense_operator.worker.images.nbd_export import ModeChoice
from sendense_operator.worker.images.proof import open_list
from sendense_operator.worker.images.qemu_tools import (
    IO_MODES,
    IoMode,
    last_line,
    read_header,
    read_options,
    safe_path,
    serve_options,
)

IMAGE = Path("/repository/shop/db/disk-0/full-20251005-120000.qcow2.partial")


def test_the_option_string_of_the_contract() -> None:
    assert serve_options(IMAGE, IoMode("io_uring", True), refuse_zeroes=True, layers=1) == (
        "driver=blkdebug,max-transfer=1048576,image.driver=qcow2,image.discard=unmap,image.detect-zeroes=unmap,"
        f"image.cache.direct=on,image.file.driver=file,image.file.aio=io_uring,image.file.cache.direct=on,"
        f"image.file.filename={IMAGE},image.l2-cache-size=4194304,image.l2-cache-entry-size=16384,"
        "inject-error.0.event=none,inject-error.0.iotype=write-zeroes,inject-error.0.errno=5"
    )


def test_a_trusted_appliance_may_write_zeroes() -> None:
    options = serve_options(IMAGE, IoMode("threads", False), refuse_zeroes=False, layers=3)
    assert options == (
        "driver=blkdebug,max-transfer=1048576,image.driver=qcow2,image.discard=unmap,image.detect-zeroes=unmap,"
        "image.cache.direct=off,image.file.driver=file,image.file.aio=threads,image.file.cache.direct=off,"
        f"image.file.filename={IMAGE},image.l2-cache-size=4194304,image.l2-cache-entry-size=16384,"
        "image.backing.l2-cache-size=262144,image.backing.l2-cache-entry-size=16384,"
        "image.backing.backing.l2-cache-size=262144,image.backing.backing.l2-cache-entry-size=16384"
    )


def test_each_layer_that_is_read_has_a_bounded_cache() -> None:
    options = read_options(IMAGE, IoMode("native", True), 31).split(",")
    assert options[:2] == ["driver=qcow2", "cache.direct=on"]
    for depth in range(31):
        assert f"{'backing.' * depth}l2-cache-size=262144" in options
    assert not any(option.startswith("backing." * 31) for option in options)  # no such layer: qemu would refuse it


def test_what_a_tool_said_is_shown_without_its_arguments() -> None:
    image = "driver=qcow2," + "backing." * 1000
    said = f"qemu-img: warning\nqemu-img: Could not open '{image}': Could not open backing file: Permission denied\n"
    assert last_line(said, image, "x.qcow2") == (
        "qemu-img: Could not open 'x.qcow2': Could not open backing file: Permission denied"
    )
    long = last_line(f"Could not open {'a' * 5000}: Permission denied")
    assert long.startswith("Could not open a")
    assert long.endswith("a: Permission denied")
    assert len(long) < 600
    assert last_line("\n") == "no message"


@pytest.mark.parametrize("path", ["x", "/a,b", "/a/../b", "/json:{}", "/a b", "/ä", "/a\n", "/", "/a=b", '/"'])
def test_no_other_path_comes_near_qemu(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        safe_path(Path(path))


@pytest.mark.parametrize("kind", ODD_KINDS)
def test_what_is_no_file_is_no_layer(tmp_path: Path, kind: str) -> None:
    """Whoever opens a pipe waits for its other end, and a link leads anywhere."""
    sound = tmp_path / "sound.qcow2"
    sound.write_bytes(head(SIZE))
    layer = tmp_path / "full-20251005-120000.qcow2"
    digests = tmp_path / "full-20251005-120000.qcow2.digests"
    for path in (layer, digests):
        odd(path, kind, sound)
    read_header(sound, SIZE)
    disk = point(1).disks[0].model_copy(update={"file": layer.name})
    for read in (lambda: read_header(layer, SIZE), lambda: open_list(tmp_path, disk)):
        with pytest.raises(WorkerError) as caught:
            read()
        assert caught.value.reason == Reason.IMAGE_CORRUPT


def test_modes_are_tried_in_order_until_none_is_left() -> None:
    choice, tried = ModeChoice(), []
    while True:
        tried.append(choice.best)
        if not choice.refuse("aio=io_uring was refused"):
            break
    assert tuple(tried) == IO_MODES


def test_a_file_system_without_direct_access() -> None:
    choice = ModeChoice()
    assert choice.refuse("file system may not support O_DIRECT")
    assert choice.best == IoMode("io_uring", False)
    assert choice.refuse("io_uring: not permitted")
    assert choice.best == IoMode("threads", False)
    assert not choice.refuse("file system may not support O_DIRECT")


ToolMaker = Callable[[str], None]
LAYER = Path("/repository/layer.qcow2")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolMaker:
    """Puts a shell script in the place of qemu-img."""

    def make(script: str) -> None:
        path = tmp_path / "qemu-img"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return make


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        ("exit 0", None, ""),
        ("exit 3", None, ""),
        ("""echo '{"corruptions": 2}'; exit 2""", Reason.IMAGE_CORRUPT, "2 corruptions"),
        ("echo broken >&2; exit 2", Reason.IMAGE_CORRUPT, "broken"),
        ("""echo '{"check-errors": 1}'; echo 'Stale file handle' >&2; exit 1""", Reason.STORAGE_ERROR, "Stale file"),
        ("echo 'Failed to get \"write\" lock' >&2; exit 1", Reason.STORAGE_ERROR, "lock"),
        ("exit 63", Reason.STORAGE_ERROR, "ended with exit code 63"),
        ("exit 127", Reason.STORAGE_ERROR, "ended with exit code 127"),
        ("kill -9 $$", Reason.STORAGE_ERROR, "signal 9"),
        ("kill -11 $$", Reason.STORAGE_ERROR, "signal 11"),
    ],
)
async def test_only_a_check_that_ran_to_its_end_speaks_of_the_image(
    tool: ToolMaker, script: str, reason: Reason | None, words: str
) -> None:
    tool(script)
    if reason is None:
        await qemu_tools.check(LAYER)
        return
    with pytest.raises(WorkerError) as caught:
        await qemu_tools.check(LAYER)
    assert caught.value.reason == reason
    assert words in caught.value.message


EXTENT = '{"start": 0, "length": 1048576, "depth": 0, "present": true, "zero": false, "data": true, "offset": 0}'


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"echo '[{EXTENT},'; kill -9 $$", "signal 9"),
        (f"echo '[{EXTENT[:40]}'; kill -9 $$", "signal 9"),
        (f"echo '[{EXTENT},'; echo 'Too many open files' >&2; exit 1", "Too many open files"),
        (f"echo '[{EXTENT}'", "the map ends at byte 1048576"),
        ("head -c 3000000 /dev/zero | tr '\\0' x; head -c 300000 /dev/zero", "ended with exit code 0"),
    ],
)
async def test_a_map_that_was_cut_short_says_nothing_of_the_image(tool: ToolMaker, script: str, words: str) -> None:
    tool(script)
    with pytest.raises(WorkerError) as caught:
        await qemu_tools.map_layer(LAYER, SIZE * 2, SIZE, 1)
    assert caught.value.reason == Reason.STORAGE_ERROR
    assert words in caught.value.message


async def test_a_whole_map(tool: ToolMaker) -> None:
    tool(f"echo '[{EXTENT}]'")
    assert (await qemu_tools.map_layer(LAYER, SIZE, SIZE, 1)).coverage == SIZE


async def test_a_tool_that_can_t_be_started(tool: ToolMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as for want of descriptors."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(WorkerError) as caught:
        await qemu_tools.check(LAYER)
    assert caught.value.reason == Reason.STORAGE_ERROR


@pytest.mark.parametrize(("code", "reason"), [(5, Reason.STORAGE_ERROR), (2, Reason.IMAGE_CORRUPT)])
def test_only_what_a_file_shows_speaks_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: Reason
) -> None:
    def broken(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", broken)
    with pytest.raises(WorkerError) as caught:
        read_header(tmp_path / "full-20251005-120000.qcow2", SIZE)
    assert caught.value.reason == reason
