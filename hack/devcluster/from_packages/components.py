"""What runs in a node beside kind's files, built from Go modules once per version into the cache."""

from __future__ import annotations

from pathlib import Path

from .. import tools
from ..shell import lock, scratch, step
from .settings import COREDNS, ETCD, LOCAL_PATH


def build() -> None:
    """Build what the node image takes and the cache lacks, and the commands that drive the cluster."""
    tools.kubernetes()
    etcd()
    tools.driver("kind")
    coredns()
    local_path_provisioner()
    tools.driver("helm")


def coredns() -> Path:
    """Return the folder with CoreDNS."""
    return tools.installed("coredns", "github.com/coredns/coredns", COREDNS, "2 minutes")


def local_path_provisioner() -> Path:
    """Return the folder with the provisioner of kind's storage class."""
    module = "github.com/rancher/local-path-provisioner"
    return tools.installed("local-path-provisioner", module, LOCAL_PATH, "a minute")


def etcd() -> Path:
    """Return the folder with etcd, built like Kubernetes through a module of our own."""
    target = tools.built("etcd", ETCD)
    with lock(target.name):
        if not target.exists():
            step(f"building etcd {ETCD} (once; 25 s)")
            with scratch(target) as folder:
                work = folder / "source"
                work.mkdir()
                (work / "go.mod").write_text(
                    f"module etcdbuild\ngo 1.24.0\nrequire go.etcd.io/etcd/server/v3 v{ETCD}\n"
                )
                (work / "main.go").write_text(
                    'package main\n\nimport (\n\t"os"\n\n\t"go.etcd.io/etcd/server/v3/etcdmain"\n)\n\n'
                    "func main() { etcdmain.Main(os.Args) }\n"
                )
                tools.go_build(work, folder / "etcd", "-s -w", ["."])
    return target
