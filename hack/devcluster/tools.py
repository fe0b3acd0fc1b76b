"""The commands that drive the cluster, and Kubernetes, built from Go modules once per version into the cache."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from .settings import CHECKOUT, GO_MINIMUM, GOVMOMI, HELM, KIND, KUBERNETES, PROMETHEUS, TOOLS
from .shell import SetupError, attempt, lock, run, scratch, step

_CORE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
KUBERNETES_COMMANDS = (*_CORE, "kube-proxy", "kubectl", "kubeadm")
_DRIVERS = {
    "kind": ("sigs.k8s.io/kind", KIND, "5 s"),
    "helm": ("helm.sh/helm/v3/cmd/helm", HELM, "a minute"),
}
_PROMETHEUS = "github.com/prometheus/prometheus/cmd/..."


def go() -> str:
    """Return a Go that is new enough. Raises SetupError saying what to install."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        found = re.search(r"go(\d+)\.(\d+)", attempt(candidate, "version").stdout) if candidate else None
        # an older one fetches the version a module asks for by itself, unless configured not to
        if (
            candidate
            and found
            and (
                (int(found[1]), int(found[2])) >= GO_MINIMUM
                or ((int(found[1]), int(found[2])) >= (1, 21) and _fetches_toolchains(candidate))
            )
        ):
            return candidate
    needed = ".".join(map(str, GO_MINIMUM))
    raise SetupError(f"Go {needed} or newer is needed: unpack it to /usr/local/go, or put it on PATH.")


def _fetches_toolchains(candidate: str) -> bool:
    return attempt(candidate, "env", "GOTOOLCHAIN").stdout.strip() != "local"


def module_folder(module: str, version: str) -> Path:
    """Return where Go keeps the sources of a module, fetched when missing."""
    return Path(json.loads(run(go(), "mod", "download", "-json", f"{module}@v{version}"))["Dir"])


def built(name: str, version: str) -> Path:
    """Return the folder of a tool's commands, whether built yet or not."""
    return TOOLS / f"{name}-{version}"


def made(name: str, version: str, text: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of a tool, which `make` fills when it is missing. `text`: what that is, for people."""
    target = built(name, version)
    with lock(target.name):
        if not target.exists():
            step(text)
            with scratch(target) as folder:
                make(folder)
    return target


def kubernetes() -> Path:
    """Return the folder with Kubernetes' commands."""
    text = f"building Kubernetes {KUBERNETES} (once; 6 minutes on 2 cores)"
    return made("kubernetes", KUBERNETES, text, _build_kubernetes)


def _build_kubernetes(folder: Path) -> None:
    """Seven commands in one build, through a module of our own.

    `go install` can't build k8s.io/kubernetes: its go.mod replaces the staging modules by folders. They are published
    too, as v0.x of the same minor version.
    """
    source = (module_folder("k8s.io/kubernetes", KUBERNETES) / "go.mod").read_text()
    staging = re.findall(r"^\s*(\S+) => \./staging", source, re.MULTILINE)
    language = re.search(r"^go .*$", source, re.MULTILINE)
    lines = ["module localbuild", language[0] if language else "", f"require k8s.io/kubernetes v{KUBERNETES}"]
    lines += [f"replace {module} => {module} v0.{KUBERNETES.partition('.')[2]}" for module in staging]
    packages = [f"k8s.io/kubernetes/cmd/{command}" for command in KUBERNETES_COMMANDS]
    work = folder / "source"
    work.mkdir()
    (work / "go.mod").write_text("\n".join(lines) + "\n")
    imports = "".join(f'import _ "{package}"\n' for package in packages)
    (work / "tools.go").write_text(f"//go:build tools\n\npackage localbuild\n\n{imports}")
    major, minor, _ = KUBERNETES.split(".")
    values = {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    flags = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())
    go_build(work, folder, f"-s -w {flags}", packages)


def go_build(work: Path, output: Path, flags: str, packages: list[str]) -> None:
    """Build packages of a module of our own in `work`, which is removed, into a folder or a file."""
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"}
    run(go(), "mod", "tidy", cwd=work, env=environment)
    place = f"{output}/" if output.is_dir() else str(output)
    run(go(), "build", "-trimpath", "-o", place, "-ldflags", flags, *packages, cwd=work, env=environment)
    shutil.rmtree(work)


def driver(name: str) -> Path:
    """Return the folder of kind or helm."""
    return installed(name, *_DRIVERS[name])


def prometheus() -> Path:
    """Return the folder of prometheus and promtool, without all that finds targets elsewhere than in a file."""
    return installed("prometheus", _PROMETHEUS, PROMETHEUS, "4 minutes", tags="remove_all_sd")


def vcenter() -> Path:
    """Return the folder of govc and vcsim: a client of vCenter, and a simulated one."""
    return made("vcenter", GOVMOMI, f"building a vCenter simulator {GOVMOMI} (once; 2 minutes)", _build_vcenter)


def _build_vcenter(folder: Path) -> None:
    work = folder / "source"
    shutil.copytree(CHECKOUT / "hack" / "vcenter_programs", work)
    language = ".".join(map(str, GO_MINIMUM))
    module = f"module localbuild\ngo {language}\nrequire github.com/vmware/govmomi v{GOVMOMI}\n"
    (work / "go.mod").write_text(module)
    go_build(work, folder, "-s -w", ["./govc", "./vcsim"])


def installed(name: str, package: str, version: str, duration: str, tags: str = "") -> Path:
    """Return the folder of a command that `go install` can build, built when missing; that takes `duration`."""

    def install(folder: Path) -> None:
        environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOBIN": str(folder)}
        flags = ["-trimpath", "-tags", tags, "-ldflags", "-s -w"]
        run(go(), "install", *flags, f"{package}@v{version}", env=environment)

    return made(name, version, f"building {name} {version} (once; {duration})", install)


def command(name: str) -> str:
    """kind, kubectl or helm: the pinned one when it is built, else the one on PATH, else built now.

    A pinned one that exists goes first, so that the same checkout always drives its cluster with the same version.
    """
    folder = built("kubernetes", KUBERNETES) if name == "kubectl" else built(name, _DRIVERS[name][1])
    if (folder / name).exists():
        return str(folder / name)
    found = shutil.which(name)
    if found:
        return found
    try:
        return str((kubernetes() if name == "kubectl" else driver(name)) / name)
    except SetupError as failure:
        raise SetupError(f"{name} is not on PATH and can't be built. Install {name}, or: {failure}") from failure


def search_path() -> str:
    """PATH with the cluster's own commands first."""
    folders = {str(Path(command(name)).parent): None for name in ("kind", "kubectl", "helm")}
    return os.pathsep.join([*folders, os.environ.get("PATH", "")])
