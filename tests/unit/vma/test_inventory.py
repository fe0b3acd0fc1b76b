import pytest

from sendense_operator.vma.errors import VMAGarbage
from sendense_operator.vma.inventory import bios_uuid, disks_of, find_vm
from sendense_operator.vma.messages import BrokenVM, Inventory, InventoryDisk, InventoryVM


def vm(path: str, *ids: str) -> InventoryVM:
    disks = tuple(InventoryDisk(id=one, capacity_bytes=1000 + n, label=f"L{n}") for n, one in enumerate(ids))
    return InventoryVM(name=path.rsplit("/", 1)[-1], path=path, disks=disks)


def test_find_by_path_not_by_name() -> None:
    inventory = Inventory(vms=(vm("/DC1/vm/a/db"), vm("/DC1/vm/b/db")))
    found = find_vm(inventory, "/DC1/vm/b/db")
    assert found is not None
    assert found.path == "/DC1/vm/b/db"
    assert find_vm(inventory, "db") is None


def test_broken_one_is_reported_only_when_wanted() -> None:
    inventory = Inventory(vms=(vm("/a"),), broken=(BrokenVM(path="/b", message="vms[1].disks: Field required"),))
    assert find_vm(inventory, "/a") is not None
    with pytest.raises(VMAGarbage, match=r"vms\[1\]\.disks"):
        find_vm(inventory, "/b")


def test_disks_by_position() -> None:
    # unit numbers and keys need not be in order: the position is the index
    disks = disks_of(vm("/a", "disk-2016", "disk-2000"))
    assert [(disk.index, disk.key, disk.virtual_size) for disk in disks] == [(0, 2016, 1000), (1, 2000, 1001)]


@pytest.mark.parametrize("bad", ["2000", "disk-", "disk-x", "disk-2000 ", "disk--1", "Disk-2000", "disk-٣"])
def test_bad_key_names_the_field(bad: str) -> None:
    with pytest.raises(VMAGarbage, match=r"disks\[1\]\.id"):
        disks_of(vm("/a", "disk-2000", bad))


def test_repeated_key() -> None:
    with pytest.raises(VMAGarbage, match="same key"):
        disks_of(vm("/a", "disk-2000", "disk-2000"))


@pytest.mark.parametrize(
    ("reported", "uuid"),
    [
        ("4210c0de-0000-4000-8000-00000000000a", "4210c0de-0000-4000-8000-00000000000a"),
        (" 4210C0DE-0000-4000-8000-00000000000A ", "4210c0de-0000-4000-8000-00000000000a"),
        ("", None),
        ("vm-42", None),
        ("4210c0de-0000-4000-8000-00000000000a/x", None),
        ("٤210c0de-0000-4000-8000-00000000000a", None),
    ],
)
def test_bios_uuid(reported: str, uuid: str | None) -> None:
    assert bios_uuid(InventoryVM(id=reported, name="db", path="/DC1/vm/db")) == uuid
