"""What a process that the worker started, as its user and without privileges, gets of the credentials: nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sendense_operator.vma.credentials import CredentialsError
from sendense_operator.worker.vma_job import credential_isolation
from sendense_operator.worker.vma_job.credential_isolation import take_credentials

WORKER = """
import subprocess, sys
from pathlib import Path
from sendense_operator.worker.vma_job.credential_isolation import take_credentials
credentials = take_credentials(Path(sys.argv[1]))
assert credentials.password == "canary"
sys.exit(subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]]).returncode)
"""
CHILD = """
import ctypes, os, sys
from pathlib import Path
parent, folder = os.getppid(), Path(sys.argv[1])
assert list(folder.iterdir()) == [], "a file holds the credentials"
for name in ("mem", "environ", "maps", "auxv"):
    try:
        with open(f"/proc/{parent}/{name}", "rb") as file:
            file.read(1)
    except PermissionError:
        continue
    sys.exit(f"/proc of the parent: {name} is open")
for name in ("root", "cwd", "fd/0"):
    try:
        os.stat(f"/proc/{parent}/{name}/") if name != "fd/0" else os.readlink(f"/proc/{parent}/{name}")
    except PermissionError:
        continue
    sys.exit(f"/proc of the parent: {name} is open")
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH = 16
if libc.ptrace(PTRACE_ATTACH, parent, None, None) == 0:
    sys.exit("the parent can be traced")
"""


def unprivileged(command: list[str]) -> list[str]:
    """As in a pod: without any capability."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    return [*drop, *command] if os.geteuid() == 0 else command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "credentials"
    made.mkdir()
    (made / "username").write_text("backup")
    (made / "password").write_text("canary")
    return made


def test_a_child_reads_neither_the_files_nor_the_memory(folder: Path) -> None:
    command = unprivileged([sys.executable, "-c", WORKER, str(folder), CHILD])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr


def test_files_that_can_not_be_removed_are_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(credential_isolation, "hide_memory", lambda: None)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CredentialsError, match="can't be removed"):
        take_credentials(folder)
