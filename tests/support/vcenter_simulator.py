"""A simulated vCenter of VMware's own, and its client govc."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER: Final = "SENDENSE_TEST_VCENTER"
"""Environment variable that names the folder of govc and vcsim."""
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sendense-backup" / "tools"
_SECONDS: Final = 60


def find_programs() -> Path | None:
    """Return the folder of govc and vcsim, None if they were not built."""
    folders = [Path(os.environ[FOLDER])] if FOLDER in os.environ else sorted(_CACHE.glob("vcenter-*"))
    return next((folder for folder in folders if (folder / "vcsim").exists()), None)


def vcenter_programs() -> Path:
    """Return the folder of govc and vcsim that `make vcenter` built. Skips without, which is an error in CI."""
    found = find_programs()
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("the vCenter simulator is missing: `make vcenter` builds it")
        pytest.skip("the vCenter simulator is missing: `make vcenter` builds it")
    return found


@dataclass(frozen=True)
class VCenterSimulator:
    """A running simulator."""

    url: str
    home: Path
    """Folder for what govc keeps."""

    def govc(self, *arguments: str) -> str:
        """Run a command of govc, and return its output. Raises AssertionError with its words."""
        environment = {**os.environ, "GOVC_URL": self.url, "GOVC_INSECURE": "1", "GOVMOMI_HOME": str(self.home)}
        command = [str(vcenter_programs() / "govc"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def import_ova(self, archive: Path, name: str) -> dict[str, Any]:
        """Import an OVA as a VM, and return the VM's configuration."""
        place = ["-ds", "LocalDS_0", "-pool", "/DC0/host/DC0_C0/Resources"]
        self.govc("import.ova", *place, "-name", name, str(archive))
        found: dict[str, Any] = json.loads(self.govc("vm.info", "-json", name))["virtualMachines"][0]["config"]
        return found


@contextmanager
def vcenter_simulator(home: Path) -> Iterator[VCenterSimulator]:
    """Run a simulator until the block ends."""
    program = subprocess.Popen(
        [vcenter_programs() / "vcsim"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(home)},
    )
    try:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        assert url.startswith("https://"), "the simulator did not start"
        yield VCenterSimulator(url, home)
    finally:
        program.communicate(timeout=_SECONDS)  # it ends with its input


def disks_of(config: dict[str, Any]) -> list[tuple[str, int]]:
    """Return label and capacity in bytes of each disk of a VM."""
    devices = config["hardware"]["device"]
    return [
        (device["deviceInfo"]["label"], device["capacityInBytes"]) for device in devices if "capacityInBytes" in device
    ]
