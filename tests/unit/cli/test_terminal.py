"""The command line in a real terminal: bars that redraw, colours, 80 columns."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.support.waiting import poll
from tests.unit.cli.conftest import CommandLine

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: apt-get install tmux")
WIDTH = 80
CODE = "from sendense_operator.cli.main import main; main()"


class Terminal:
    """A window of 80 columns and 24 lines."""

    def __init__(self) -> None:
        self._socket = f"sendense-{secrets.token_hex(4)}"

    def tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self._socket, *words], capture_output=True, text=True, check=False)
        return done.stdout

    def start(self, environment: str, *words: str) -> None:
        """Run the command line; what it printed stays until the test ends."""
        # the shell outlives a Ctrl-C
        command = (
            f"trap : INT; {environment} {shlex.join([sys.executable, '-c', CODE, *words])}; echo ended $?; exec cat"
        )
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(WIDTH), "-y", "24", command)

    def text(self) -> str:
        """What can be seen now."""
        return self.tmux("capture-pane", "-p")

    def escapes(self) -> str:
        """The same with its colours."""
        return self.tmux("capture-pane", "-p", "-e")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    window = Terminal()
    yield window
    window.tmux("kill-server")


@pytest.fixture
def shop(cli: CommandLine) -> CommandLine:
    cli.api.put(sample.protected_vm("db", sample.ready_status()))
    cli.api.put(sample.repository("store"))
    return cli


def state(percent: int) -> Obj:
    disks = [
        {"id": index, "percent": percent, "virtualSize": 1 << 30, "bytesTransferred": percent * (1 << 30) // 100,
         "rate": "180 MiB/s", "eta": "12s"}
        for index in range(2)
    ]  # fmt: skip
    progress = {"percent": percent, "rate": "360 MiB/s", "eta": "12s"}
    return {"phase": "Running", "stage": "Copying", "progress": progress, "disks": disks}


def seen(terminal: Terminal, pattern: str) -> Callable[[], bool]:
    return lambda: re.search(pattern, terminal.text(), re.MULTILINE) is not None


def test_bars_redraw(shop: CommandLine, terminal: Terminal) -> None:
    terminal.start("", "backup", "db", "--name", "mine", "--wait", "--kubeconfig", str(shop.kubeconfig))
    poll(lambda: ("backups", "mine") in shop.api.objects, "it is created")
    for percent in (10, 70):
        shop.api.objects["backups", "mine"]["status"] = state(percent)
        poll(seen(terminal, rf"disk 1 .*{percent}% .*1.0 GiB 180 MiB/s ETA 12s"), f"{percent} %")
    shown = terminal.text()
    assert "10%" not in shown, "each state is drawn over the one before"
    assert [line.split()[0] for line in shown.splitlines() if "━" in line] == ["mine", "disk", "disk"]
    assert "\x1b[3" in terminal.escapes(), "bars have a colour"
    shop.api.objects["backups", "mine"]["status"] = sample.ready_status("Completed", phase="Completed")
    poll(seen(terminal, r"^ended 0"), "the end")
    assert len([line for line in terminal.text().splitlines() if line.startswith("mine ")]) == 1


@pytest.mark.parametrize(("environment", "coloured"), [("", True), ("NO_COLOR=1", False), ("TERM=dumb", False)])
def test_colours_and_width(shop: CommandLine, terminal: Terminal, environment: str, *, coloured: bool) -> None:
    for number in range(3):
        name = f"virtual-machine-with-a-long-name-{number}-20261128-060000-abcde"
        shop.api.put(sample.backup(name, {"phase": "Failed", "stored": "1.5 GiB", "progress": {"summary": "100%"}}))
    terminal.start(environment, "list", "--kubeconfig", str(shop.kubeconfig))
    poll(seen(terminal, r"^ended 0"), "the end")
    lines = terminal.text().splitlines()
    assert lines[0].split() == ["NAME", "VM", "TYPE", "PHASE", "DONE", "STORED", "CREATED"]
    assert sum("Failed" in line for line in lines) == 3, "no row is torn by the terminal"
    assert ("\x1b[31m" in terminal.escapes()) is coloured


def test_ctrl_c(shop: CommandLine, terminal: Terminal) -> None:
    terminal.start("", "backup", "db", "--name", "mine", "--wait", "--kubeconfig", str(shop.kubeconfig))
    poll(seen(terminal, r"^mine .*Pending"), "it waits")
    terminal.tmux("send-keys", "C-c")
    poll(seen(terminal, r"stopped waiting: Backup mine goes on"), "it says what goes on")
    poll(seen(terminal, r"^ended 130"), "its end")


def test_watching_starts_at_the_top_again(shop: CommandLine, terminal: Terminal) -> None:
    shop.api.put(sample.backup("mine", {"phase": "Pending"}))
    terminal.start("", "list", "--watch", "--kubeconfig", str(shop.kubeconfig))
    poll(seen(terminal, r"^mine .*Pending"), "the first list")
    shop.api.put(sample.backup("mine", {"phase": "Completed"}))
    poll(seen(terminal, r"^mine .*Completed"), "the second one")
    assert len([line for line in terminal.text().splitlines() if line.startswith("mine")]) == 1


def test_ctrl_c_at_a_question(shop: CommandLine, terminal: Terminal) -> None:
    shop.api.put(sample.backup("mine", {"phase": "Completed"}))
    terminal.start("", "delete", "mine", "--kubeconfig", str(shop.kubeconfig))
    poll(seen(terminal, r"^delete mine\? \[y/N\]"), "the question")
    terminal.tmux("send-keys", "C-c")
    poll(seen(terminal, r"ended 130"), "its end")
    assert ("backups", "mine") in shop.api.objects
