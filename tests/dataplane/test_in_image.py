"""Runs the tests that need qemu or libnbd in the operator's image, where a machine does not have them.

Those are all of the data plane, and of the reference VMA's those that copy disks: `make check` has run its others.
"""

from __future__ import annotations

import os
import sysconfig
from itertools import chain
from pathlib import Path

import pytest
from tests.dataplane.host import CHECKOUT, SMALL_BYTES, SMALL_FOLDER
from tests.support import programs, setup
from tests.support.vcenter_simulator import FOLDER, find_programs, vcenter_programs
from tests.support.vcenter_simulator import FOLDER as VCENTER_FOLDER

from sendense_operator.task import ALLOCATOR

_IMAGE = "sendense-backup"
_SHARES = 512
"""Of the processors, where a pod has 1024 for each that it requests: tests on the cluster go first."""
_SOURCE = "/src"
_SMALL = "/small"
_PROGRAMS = "/vcenter"
_VCENTER = "/vcenter"
_HERE = "tests/dataplane"
_TESTS = (_HERE, "tests/unit/reference_vma")
_PROCESSES = 3
"""On two cores: a test waits half of its time, for clocks and for what programs send each other."""
_LIVES = 50
"""Random lives in each test of them: `make test` is to take minutes."""


@pytest.mark.processors
@pytest.mark.timeout(1800)
def test_in_the_operators_image(operator: str) -> None:
    image = setup.image_name(_IMAGE)
    packages = Path(sysconfig.get_path("purelib")).resolve().relative_to(CHECKOUT)
    # The image's own packages first: those of the checkout may be built for another Python.
    path = ":".join([f"{_SOURCE}/operator", _SOURCE, "/opt/sendense", f"{_SOURCE}/{packages}"])
    vcenter = vcenter_programs() if os.environ.get("CI") else find_programs()
    mounted = ("--volume", f"{vcenter}:{_VCENTER}:ro", "--env", f"{VCENTER_FOLDER}={_VCENTER}") if vcenter else ()
    without = () if vcenter else ("test_ova_import.py",)
    reported = programs.engine(
        *("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "python3"),
        *("--cpu-shares", str(_SHARES)),
        *("--volume", f"{CHECKOUT}:{_SOURCE}:ro", "--workdir", _SOURCE, "--env", f"PYTHONPATH={path}"),
        *("--tmpfs", f"{_SMALL}:size={SMALL_BYTES}", "--env", f"{SMALL_FOLDER}={_SMALL}"),
        *mounted,
        # hypothesis has a profile of its own for this: a busy machine is no failure, and no folder is written to.
        *("--env", f"SENDENSE_TEST_LIVES={_LIVES}", "--env", "CI=true"),
        *chain.from_iterable(("--env", f"{name}={value}") for name, value in ALLOCATOR.items()),
        *("--volume", f"{vcenter_programs()}:{_PROGRAMS}:ro", "--env", f"{FOLDER}={_PROGRAMS}"),
        *(image, "-m", "pytest", "-q", "-n", str(_PROCESSES), "-p", "no:cacheprovider", f"--confcutdir={_HERE}"),
        *("-m", "qemu", *_TESTS),
        *(f"--ignore={_HERE}/{name}" for name in ("test_in_image.py", "test_shared_blocks.py", *without)),
        timeout=1700,
    )
    print(reported)
    summary = reported.strip().splitlines()[-1]
    assert " passed" in summary
    assert "skipped" not in summary, "every test has to run here"
