"""Debian packages on the host, and a Debian root made from them, as an image that need not be pulled."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import apt
from ..engine import Engine
from ..settings import CACHE
from ..shell import SetupError, attempt, lock, run, scratch, step
from .settings import DEBIAN

PACKAGES = {
    "docker.io": "/usr/sbin/dockerd",
    "jq": "/usr/bin/jq",
    "mmdebstrap": "/usr/bin/mmdebstrap",
    "busybox-static": "/bin/busybox",
    "gcc": "/usr/bin/gcc",
    "libc6-dev": "/usr/include/stdio.h",
    "iptables": "/usr/sbin/xtables-nft-multi",
    "nftables": "/usr/sbin/nft",
    "conntrack": "/usr/sbin/conntrack",
    "iproute2": "/sbin/ip",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
}
"""Package and a file that shows it is installed."""
HOST_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
BUILD_BUNDLE = "/usr/local/share/build-ca.crt"
"""Where the host's certificates are in the root, for builds behind an inspecting proxy; no final image keeps it."""
ROOT_VERSION = f"{DEBIAN}-3"
"""To be raised with the recipe below."""
_UNREAD = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
_POLICY = Path("/usr/sbin/policy-rc.d")


def ensure_packages() -> None:
    """Install what is missing of PACKAGES."""
    with lock("apt"):
        missing = [package for package, file in PACKAGES.items() if not Path(file).exists()]
        if not missing and shutil.which("docker"):
            return
        step(f"installing Debian packages: {' '.join(missing or ['docker'])} (20 s)")
        run("apt-get", "-qq", "update")
        # newer Debians have the client in a package of its own
        if "docker.io" in missing and attempt("apt-cache", "show", "docker-cli").stdout:
            missing.append("docker-cli")
        with _no_service_starts():
            apt.install(*missing)
    if not shutil.which("docker"):
        raise SetupError("the docker command is missing: apt-get install docker-cli, or docker.io")


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep apt from starting the engine as a service of the machine: we start one of our own."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def ensure_image(engine: Engine, name: str) -> None:
    """Give the Debian root a name in the engine, importing it when it isn't there."""
    archive = root_archive()
    imported = f"sendense/debian:{ROOT_VERSION}"
    with lock("debian-image"):
        if not engine.has_image(imported):
            engine.run("import", archive, imported)
        engine.run("tag", imported, name)


def root_archive() -> Path:
    """Return a tar of a small Debian root, made once: minimal packages, the host's apt and TLS settings."""
    folder = CACHE / "roots" / ROOT_VERSION
    with lock(f"root-{DEBIAN}"):
        if not folder.exists():
            step(f"making a Debian {DEBIAN} root (once; 20 s)")
            with scratch(folder) as new:
                _make_root(new / "root.tar", _sources())
    return folder / "root.tar"


def _make_root(target: Path, sources: list[Path]) -> None:
    settings = target.with_name("apt.conf")
    settings.write_text(_proxies())
    leave_out = [f"--dpkgopt=path-exclude={pattern}" for pattern in _UNREAD]
    hooks = [
        f"copy-in {settings} /tmp/",
        'mv "$1/tmp/apt.conf" "$1/etc/apt/apt.conf.d/99build"',
        f'mkdir -p "$1/etc/ssl/certs" && cp {HOST_BUNDLE} "$1{HOST_BUNDLE}" && cp {HOST_BUNDLE} "$1{BUILD_BUNDLE}"',
        'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log "$1"/var/log/apt',
    ]
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        *leave_out,
        # as in Debian's own images: /usr is merged from the start, not by a package that brings Perl
        "--include=usr-is-merged",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        *[f"--customize-hook={hook}" for hook in hooks],
        DEBIAN,
        target,
        *sources,
    )


def _sources() -> list[Path]:
    """Return the host's own Debian archives when it runs the same release (it may have a mirror); none: the default."""
    if f"VERSION_CODENAME={DEBIAN}" not in Path("/etc/os-release").read_text().splitlines():
        return []
    apt = Path("/etc/apt")
    files = [
        apt / "sources.list",
        *sorted(apt.glob("sources.list.d/*.list")),
        *sorted(apt.glob("sources.list.d/*.sources")),
    ]
    # archives of others need keys and packages that the root doesn't have
    return [file for file in files if file.exists() and re.search(rf"{DEBIAN}-(updates|security)", file.read_text())]


def _proxies() -> str:
    lines = attempt("apt-config", "dump").stdout.splitlines()
    return "".join(f"{line}\n" for line in lines if line.startswith("Acquire::") and "::Proxy" in line)
