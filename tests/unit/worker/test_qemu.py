from pathlib import Path

import pytest
from tests.support.chains import ODD_KINDS, SIZE, head, odd, point

from sendense_operator.worker.export import ModeChoice
from sendense_operator.worker.proof import open_list
from sendense_operator.worker.qemu import (
    IO_MODES,
    IoMode,
    last_line,
    read_header,
    read_options,
    safe_path,
    serve_options,
)
from sendense_operator.worker.reasons import Reason, WorkerError

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
