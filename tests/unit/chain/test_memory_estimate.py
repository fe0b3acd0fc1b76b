from sendense_operator.chain.memory_estimate import DiskLoad, describe_disks, estimate

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


def test_an_ordinary_vm_fits_into_the_default_limit() -> None:
    assert estimate([DiskLoad(500 * GIB, 32)] * 4) < 512 * MIB


def test_it_covers_what_was_measured() -> None:
    """Peak of one program each, beside Python's 56 MiB: see the goals of the bench."""
    assert estimate([DiskLoad(256 * GIB, 31)]) > (56 + 30) * MIB
    assert estimate([DiskLoad(62 * TIB, 1)]) > (56 + 62 * 16.5) * MIB  # qemu-img check of a file as large


def test_it_grows_with_disks_sizes_and_depth() -> None:
    one = estimate([DiskLoad(GIB, 1)])
    assert estimate([DiskLoad(GIB, 32)]) - one >= 31 * MIB
    assert estimate([DiskLoad(GIB, 1)] * 64) - one >= 63 * 8 * MIB
    assert estimate([DiskLoad(64 * TIB, 1)]) > 1 * GIB > estimate([DiskLoad(16 * TIB, 1)])
    # Proofs come one after the other, exports are there side by side.
    assert estimate([DiskLoad(64 * TIB, 1)] * 2) == estimate([DiskLoad(64 * TIB, 1)])


def test_its_numbers_can_be_described() -> None:
    assert describe_disks([DiskLoad(GIB, 1), DiskLoad(3 * TIB, 32)]) == "2 disks of up to 3072 GiB in up to 32 layers"
