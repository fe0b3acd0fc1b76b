"""Which engine the cluster gets, by what the machine has and what is forced."""

from __future__ import annotations

from pathlib import Path

import pytest
from hack.devcluster import debian, engine
from hack.devcluster.shell import SetupError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bool]:
    """What the machine has: engines that answer by their command, `debian`: root on Debian."""
    has = {"docker": False, "podman": False, "debian": False}
    monkeypatch.setattr(engine, "CHOICE", tmp_path / "engine")
    monkeypatch.setattr(engine, "ENGINE", tmp_path)
    monkeypatch.setattr(engine, "_HOST_STATE", tmp_path / "host.json")
    monkeypatch.setattr("shutil.which", lambda command: f"/usr/bin/{command}")
    monkeypatch.setattr(engine, "succeeds", lambda *command, **_: True)
    monkeypatch.setattr(engine.Engine, "answers", lambda self: has[self.command])
    monkeypatch.setattr(debian, "usable", lambda: has["debian"])
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
        found = engine._find(forced)
        got = "packages" if found.own else found.command
    except SetupError as error:
        got = str(error)
    assert expected in got


def test_a_shell_with_our_settings_names_our_engine(machine: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """After `eval "$(hack/cluster env)"` docker answers, but it is the one that we started."""
    machine.update(docker=True, debian=True)
    monkeypatch.setenv("DOCKER_HOST", engine.own().env["DOCKER_HOST"])
    assert engine._find("").own


@pytest.fixture
def note(machine: dict[str, bool], tmp_path: Path) -> Path:
    """Where `up` notes which engine it took."""
    return tmp_path / "engine"


def test_what_up_took_is_kept(machine: dict[str, bool], note: Path) -> None:
    machine.update(docker=True, debian=True)
    assert engine.chosen() is None
    note.write_text("podman\n")
    chosen = engine.chosen()
    assert chosen is not None
    assert (chosen.own, chosen.command) == (False, "podman")


def test_our_engine_without_a_note_is_still_found(machine: dict[str, bool]) -> None:
    """So that `down` removes what a run left that was killed before it noted its choice."""
    engine._HOST_STATE.write_text("{}")
    chosen = engine.chosen()
    assert chosen is not None
    assert chosen.own


def test_an_engine_that_went_away_is_named(note: Path) -> None:
    note.write_text("docker\n")
    with pytest.raises(SetupError, match="docker, which this checkout's cluster runs on, does not answer"):
        engine.ensure()


def test_another_one_is_not_forced_on_a_cluster(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note.write_text("docker\n")
    monkeypatch.setenv("SENDENSE_ENGINE", "packages")
    with pytest.raises(SetupError, match="make down first"):
        engine.ensure()


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ("default via 10.0.0.1 dev eth0\n", "172.29.0.0/16"),
        ("172.29.1.0/24 dev br-1 proto kernel\nunreachable 10.96.0.0/16\n", "172.30.0.0/16"),
        ("172.16.0.0/12 via 10.0.0.1\n", "no free network"),
    ],
)
def test_a_network_that_nobody_has(monkeypatch: pytest.MonkeyPatch, routes: str, expected: str) -> None:
    done = type("Done", (), {"stdout": routes})
    monkeypatch.setattr(engine, "attempt", lambda *_: done)
    try:
        got = engine._free_subnet()
    except SetupError as error:
        got = str(error)
    assert expected in got
