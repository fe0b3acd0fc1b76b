"""Which engine the cluster gets, by what the machine has and what is forced."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.devcluster import apt, engine_choice
from hack.devcluster.engine import Engine
from hack.devcluster.from_packages import dockerd
from hack.devcluster.shell import SetupError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bool]:
    """What the machine has: engines that answer by their command, `debian`: root on Debian."""
    has = {"docker": False, "podman": False, "debian": False}
    monkeypatch.setattr(engine_choice, "CHOICE", tmp_path / "engine")
    monkeypatch.setattr(dockerd, "ENGINE", tmp_path)
    monkeypatch.setattr(dockerd, "_HOST_STATE", tmp_path / "host.json")
    monkeypatch.setattr("shutil.which", lambda command: f"/usr/bin/{command}")
    monkeypatch.setattr(engine_choice, "succeeds", lambda *command, **_: True)
    monkeypatch.setattr(Engine, "answers", lambda self: has[self.command])
    monkeypatch.setattr(apt, "usable", lambda: has["debian"])
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return has


@pytest.mark.parametrize(
    ("there", "forced", "expected"),
    [
        ({"docker"}, "", "docker"),
        ({"docker", "podman", "debian"}, "", "docker"),
        ({"podman"}, "", "podman"),
        ({"debian"}, "", "packages"),
        ({"docker", "debian"}, "packages", "packages"),
        ({"docker", "debian"}, "existing", "docker"),
        ({"debian"}, "existing", "No container engine answers"),
        ({"docker"}, "packages", "No container engine answers"),
        (set(), "", "install and start Docker or Podman"),
        ({"docker"}, "minikube", "'minikube'"),
    ],
)
def test_found_out_or_forced(machine: dict[str, bool], there: set[str], forced: str, expected: str) -> None:
    machine.update(dict.fromkeys(there, True))
    try:
        found = engine_choice._find(forced)
        got = "packages" if found.own else found.command
    except SetupError as error:
        got = str(error)
    assert expected in got


def test_a_shell_with_our_settings_names_our_engine(machine: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """After `eval "$(hack/cluster env)"` docker answers, but it is the one that we started."""
    machine.update(docker=True, debian=True)
    monkeypatch.setenv("DOCKER_HOST", dockerd.own().env["DOCKER_HOST"])
    assert engine_choice._find("").own


@pytest.fixture
def note(machine: dict[str, bool], tmp_path: Path) -> Path:
    """Where `up` notes which engine it took."""
    return tmp_path / "engine"


def test_what_up_took_is_kept(machine: dict[str, bool], note: Path) -> None:
    machine.update(docker=True, debian=True)
    assert engine_choice.chosen() is None
    note.write_text("podman\n")
    chosen = engine_choice.chosen()
    assert chosen is not None
    assert (chosen.own, chosen.command) == (False, "podman")


def test_our_engine_without_a_note_is_still_found(machine: dict[str, bool]) -> None:
    """So that `down` removes what a run left that was killed before it noted its choice."""
    dockerd._HOST_STATE.write_text("{}")
    chosen = engine_choice.chosen()
    assert chosen is not None
    assert chosen.own


def test_an_engine_that_went_away_is_named(note: Path) -> None:
    note.write_text("docker\n")
    with pytest.raises(SetupError, match="docker, which this checkout's cluster runs on, does not answer"):
        engine_choice.ensure()


def test_another_one_is_not_forced_on_a_cluster(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note.write_text("docker\n")
    monkeypatch.setenv("SENDENSE_ENGINE", "packages")
    with pytest.raises(SetupError, match="make down first"):
        engine_choice.ensure()
