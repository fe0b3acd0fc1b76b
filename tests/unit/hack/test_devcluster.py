"""What the developer's cluster decides: names, what a log line is about, when a build is there."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from hack.devcluster import images, release, settings, shell


def test_each_checkout_has_a_cluster_of_its_own() -> None:
    names = {settings.cluster_name(Path(path)) for path in ("/a/checkout", "/b/checkout")}
    assert len(names) == 2
    assert all(len(f"{name}-control-plane") <= 63 for name in names)


def test_image_names_follow_the_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(images, "CHECKOUT", tmp_path)
    for source in ("operator/sendense_operator", "hack/reference-vma/reference_vma", "hack/image"):
        (tmp_path / source).mkdir(parents=True)
    for file in ("Containerfile", ".dockerignore", "requirements.txt", "operator/sendense_operator/a.py"):
        (tmp_path / file).write_text("1")
    first = images.names()
    (tmp_path / "operator/sendense_operator/__pycache__").mkdir()
    (tmp_path / "operator/sendense_operator/__pycache__/a.pyc").write_text("compiled")
    (tmp_path / "README.md").write_text("not in an image")
    assert images.names() == first
    (tmp_path / "operator/sendense_operator/a.py").write_text("2")
    changed = images.names()
    assert changed["operator"] != first["operator"]
    assert changed["reference-vma"] == first["reference-vma"]
    (tmp_path / "requirements.txt").write_text("2")
    assert all(images.names()[target] != changed[target] for target in changed)


@pytest.mark.parametrize(
    ("text", "prefix", "backup", "expected"),
    [
        ("INFO controller backup=shop/db-1 x: y", "controller", "db-1", True),
        ("INFO controller backup=shop/db-1 x: y", "controller", "shop/db-1", True),
        ("INFO controller backup=shop/db-10 x: y", "controller", "db-1", False),
        ("INFO controller backup=lab/db-1 x: y", "controller", "shop/db-1", False),
        ("Traceback", "shop/db-1", "db-1", True),
        ("INFO gateway backup=- x: y", "gateway", "", True),
        ("INFO gateway backup=- x: y", "gateway", "db-1", False),
        ('{"level": "INFO", "backup": "shop/db-1", "event": "y"}', "controller", "db-1", True),
        ('{"level": "INFO", "backup": "shop/db-1", "event": "y"}', "controller", "shop/db-1", True),
        ('{"level": "INFO", "backup": "shop/db-10", "event": "y"}', "controller", "db-1", False),
        ('{"level": "INFO", "event": "y", "error": "a backup=shop/db-1 b"}', "controller", "db-1", False),
        ('{"level": "INFO", "event": "y"}', "gateway", "", True),
    ],
)
def test_log_lines_of_one_backup(text: str, prefix: str, backup: str, expected: bool) -> None:
    assert release._concerns(text, prefix, backup) is expected


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "tool-1"
    with pytest.raises(RuntimeError), shell.scratch(target) as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_builds_rest_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".tool-1.killed").mkdir()
    with shell.scratch(tmp_path / "tool-1") as folder:
        (folder / "whole").touch()
    assert [str(file.relative_to(tmp_path)) for file in sorted(tmp_path.rglob("*"))] == ["tool-1", "tool-1/whole"]


def test_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shell, "LOCKS", tmp_path)
    with shell.lock("engine"), (tmp_path / "engine").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_failures_tell_what_the_command_said() -> None:
    with pytest.raises(shell.SetupError, match=r"(?s)sh -c .* code 3.*the reason"):
        shell.run("sh", "-c", "echo the reason >&2; exit 3")
