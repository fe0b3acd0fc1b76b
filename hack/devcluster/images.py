"""The project's two images: their names change with what goes into them, so that a cluster never runs an old one."""

from __future__ import annotations

import hashlib
import os

from .engine import Engine
from .from_packages import debian
from .from_packages.settings import BASE_IMAGE
from .settings import CHECKOUT
from .shell import lock, step

OPERATOR = "sendense-backup"
REFERENCE_VMA = "sendense-reference-vma"
_COMMON = ("Containerfile", ".dockerignore", "requirements.txt", "hack/image")
_TARGETS = {
    "operator": (OPERATOR, (*_COMMON, "operator/sendense_operator")),
    "reference-vma": (REFERENCE_VMA, (*_COMMON, "hack/reference-vma/reference_vma")),
}
_PASSED = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)
"""The host's settings that a build needs and no image keeps."""


def _digest(sources: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        top = CHECKOUT / source
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".md":
                digest.update(f"{file.relative_to(CHECKOUT)}\0{file.stat().st_mode & 0o111}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def names() -> dict[str, str]:
    """Return the names with tags by target of the Containerfile, operator first, for the checkout as it is now."""
    return {target: f"{name}:{_digest(sources)}" for target, (name, sources) in _TARGETS.items()}


def build(engine: Engine) -> list[str]:
    """Build what the engine doesn't hold yet; names of both."""
    wanted = names()
    with lock("images"):
        if engine.own:
            debian.ensure_image(engine, BASE_IMAGE)
        for target, name in wanted.items():
            if not engine.has_image(name):
                step(f"building {name} (seconds; 1 minute the first time)")
                _build(engine, name, target)
    return list(wanted.values())


def _build(engine: Engine, name: str, target: str) -> None:
    options = ["--target", target, "--tag", name, "--file", str(CHECKOUT / "Containerfile")]
    for variable in _PASSED:
        if os.environ.get(variable):
            options += ["--build-arg", variable]
    if engine.own:
        # our engine's own network may not lead out; the root we imported brings the host's certificates
        options += ["--network", "host", "--build-arg", f"PIP_CERT={debian.BUILD_BUNDLE}"]
    engine.run("build", "--quiet", *options, CHECKOUT)


def remove_old(engine: Engine, kept: int = 5) -> list[str]:
    """Drop images of earlier states of the checkout, but for the latest few: a test may still run one. Their names."""
    removed = []
    for repository in (OPERATOR, REFERENCE_VMA):
        newest_first = engine.run("images", "--format", "{{.Repository}}:{{.Tag}}", repository).split()
        for name in newest_first[kept:]:
            engine.succeeds("rmi", name)
            removed.append(name)
    return removed
