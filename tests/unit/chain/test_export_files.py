"""Names and sizes of the files that a Restore writes."""

from __future__ import annotations

import re
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.api.v1alpha1.names import NAME_PATTERN
from sendense_operator.chain.export_files import DiskData, archive_file, claim_file, disk_file, most_bytes, stem
from sendense_operator.restore_task import FileFormat
from sendense_operator.task import MAX_DISKS

GIB = 1 << 30
NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)


def test_names() -> None:
    assert disk_file("db", "b1", 0, FileFormat.RAW) == "db-b1-disk-0.raw"
    assert disk_file("db", "b1", 7, FileFormat.QCOW2) == "db-b1-disk-7.qcow2"
    assert disk_file("db", "b1", 0, FileFormat.OVA) == disk_file("db", "b1", 0, FileFormat.VMDK) == "db-b1-disk-0.vmdk"
    assert archive_file("db", "b1") == claim_file("db", "b1", 3, FileFormat.OVA) == "db-b1.ova"


@given(NAMES, NAMES, st.integers(0, MAX_DISKS - 1), st.sampled_from(FileFormat))
def test_each_name_is_that_of_a_file(vm: str, backup: str, index: int, kind: FileFormat) -> None:
    for name in (disk_file(vm, backup, index, kind), claim_file(vm, backup, index, kind)):
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)
        assert len(name) <= 100
        tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def test_long_names_do_not_become_the_same() -> None:
    vm = "a" * 63
    assert len(stem(vm, "b" * 16)) == 80
    names = {stem(vm, "b" * 62 + end) for end in "xyz"}
    assert len(names) == 3
    assert all(len(name) <= 80 for name in names)


@given(st.integers(1, 1 << 45), st.sampled_from(FileFormat))
def test_what_is_needed_at_most_is_not_much_more(size: int, kind: FileFormat) -> None:
    needed = most_bytes([DiskData.full(size)], kind)
    assert size <= needed <= size * 1.01 + (3 << 20)
    assert most_bytes([DiskData(size, 0, 0)], kind) <= size * 0.0001 + (3 << 20)
    assert most_bytes([DiskData.full(size)] * 2, kind) <= 2 * needed


def test_a_raw_file_has_holes() -> None:
    assert most_bytes([DiskData(100 * GIB, 3 * GIB, 768)], FileFormat.RAW) == 3 * GIB
