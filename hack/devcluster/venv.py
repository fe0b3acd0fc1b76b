"""The checkout's .venv: what requirements-dev.txt locks and nothing else, the sources, and their programs."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import tomllib
from pathlib import Path

from . import apt
from .settings import CHECKOUT, TOOLS, UV
from .shell import SetupError, attempt, lock, run, step, succeeds, write

VENV = CHECKOUT / ".venv"
LOCK = CHECKOUT / "requirements-dev.txt"
_STAMP = VENV / ".locked"
_SOURCES = ("operator", "hack/reference-vma")


def ensure() -> None:
    """Make or update .venv unless it is as the lock says."""
    with lock(f"venv-{hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:6]}"):
        if _STAMP.exists() and _STAMP.read_text() == _state() and (VENV / "bin" / "python").exists():
            return
        uv = ensure_uv()
        step("making .venv (10 s)")
        environment = uv_environment()
        if not succeeds(VENV / "bin" / "python", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
            run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, VENV, env=environment)
        run(uv, "pip", "sync", "--quiet", "--require-hashes", LOCK, env={**environment, "VIRTUAL_ENV": str(VENV)})
        packages = run(VENV / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        paths = "".join(f"{CHECKOUT / source}\n" for source in _SOURCES)
        write(Path(packages.strip()) / "sendense-backup.pth", paths)
        _write_programs()
        write(_STAMP, _state())


def _write_programs() -> None:
    """Write the package's programs, as an installation of it would: `kubectl sendense` finds them on the path."""
    for name, entry in _programs().items():
        module, _, function = entry.partition(":")
        program = VENV / "bin" / name
        write(
            program, f"#!{VENV}/bin/python\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        )
        program.chmod(0o755)


def _programs() -> dict[str, str]:
    """Return module and function of each program by its name."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {str(name): str(entry) for name, entry in project["scripts"].items()}


def _state() -> str:
    """Changes when .venv has to: with the lock, the checkout's place and what is put on the path."""
    return hashlib.sha256(LOCK.read_bytes() + repr((str(CHECKOUT), _SOURCES, _programs())).encode()).hexdigest()


def ensure_uv() -> Path:
    """uv of the pinned version, in an environment of its own: a sync removes what isn't locked, itself too."""
    target = TOOLS / f"uv-{UV}"
    with lock(target.name):
        if not succeeds(target / "bin" / "uv", "--version"):
            step(f"installing uv {UV} (5 s)")
            _ensure_venv_module()
            with tempfile.TemporaryDirectory() as folder:
                run(sys.executable, "-m", "venv", folder)
                pip = (Path(folder) / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade")
                run(*pip, "--only-binary", ":all:", "--target", target, f"uv=={UV}")
    return target / "bin" / "uv"


def _ensure_venv_module() -> None:
    if succeeds(sys.executable, "-c", "import ensurepip, venv"):
        return
    if not apt.usable():
        raise SetupError("Python's venv module is missing: install it (Debian, Ubuntu: apt-get install python3-venv)")
    step("installing python3-venv (5 s)")
    attempt("apt-get", "-qq", "update")
    apt.install("python3-venv")


def uv_environment() -> dict[str, str]:
    """pip's settings of an index, for uv, which has names of its own for them."""
    pairs = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_EXTRA_INDEX_URL": "UV_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    return {new: os.environ[old] for old, new in pairs.items() if os.environ.get(old) and new not in os.environ}
