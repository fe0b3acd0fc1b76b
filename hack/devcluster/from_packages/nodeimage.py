"""kind's node image from packages: kind's own files on a Debian root, with Kubernetes built from Go modules.

Two halves that need nothing of each other are made side by side: the Debian root with its packages (network), and
the commands (compilers). What is odd in it, and why, is documented in hack/README.md.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
from pathlib import Path

from .. import tools
from ..engine import Engine
from ..settings import KIND, KUBERNETES
from ..shell import SetupError, lock, pipe, run, step, succeeds, together
from . import components, debian
from .settings import COREDNS, ETCD, FILES, LOCAL_PATH

_PACKAGES = (
    "systemd conntrack iptables nftables iproute2 ethtool util-linux mount kmod libseccomp2 e2fsprogs nfs-common bash"
    " ca-certificates curl jq procps containerd runc containernetworking-plugins"
)
_USERLAND = "sendense/userland"
_LIBRARIES = "/usr/lib/x86_64-linux-gnu"


def _recipe() -> str:
    """Changes whenever something goes into the image that isn't the same as before."""
    digest = hashlib.sha256(repr((KIND, ETCD, COREDNS, LOCAL_PATH, _PACKAGES)).encode())
    for file in [Path(__file__), *sorted(FILES.iterdir())]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def tag() -> str:
    """Return the name of the image that this version of the recipe makes."""
    return f"sendense/node:v{KUBERNETES}-{_recipe()}"


def ensure(engine: Engine) -> str:
    """Return the image's name, once it is there."""
    with lock("node-image"):
        if not engine.has_image(tag()):
            root = f"sendense/node-root:{_recipe()}"
            together(lambda: _root(engine, root), components.build)
            step("assembling the node image (once; 50 s)")
            with tempfile.TemporaryDirectory() as folder:
                _Assembly(engine, Path(folder)).make(root)
    return tag()


def _root(engine: Engine, image: str) -> None:
    """Debian with all packages of a node."""
    if engine.has_image(image):
        return
    debian.ensure_image(engine, "sendense/debian:root")
    step("installing a node's Debian packages (once; 30 s)")
    script = (
        f"apt-get -qq update && apt-get -qq install -y --no-install-recommends {_PACKAGES}"
        " && apt-get clean && rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/*"
    )
    name = "sendense-node-root"
    engine.succeeds("rm", "-f", name)
    common = ("--network", "host", "--security-opt", "seccomp=unconfined", "--env", "DEBIAN_FRONTEND=noninteractive")
    engine.run("run", "--name", name, *common, "sendense/debian:root", "sh", "-c", script)
    engine.run("commit", name, image)
    engine.run("rm", "-f", name)


class _Assembly:
    """The steps from a root and the commands to the image, in a scratch folder and one container."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.kind = tools.module_folder("sigs.k8s.io/kind", KIND)
        self.kubernetes = tools.kubernetes()
        self.container = "sendense-node-build"
        listed = run(self.kubernetes / "kubeadm", "config", "images", "list", "--kubernetes-version", f"v{KUBERNETES}")
        self.wanted = {re.sub(r".*/|:.*", "", line): line for line in listed.split()}

    def make(self, root: str) -> None:
        """From the root image to the node image."""
        self._userland()
        images = self._component_images()
        self.engine.succeeds("rm", "-f", self.container)
        options = ("--network", "host", "--security-opt", "seccomp=unconfined", "--entrypoint", "sleep")
        self.engine.run("run", "-d", "--name", self.container, *options, root, "infinity")
        try:
            self._files()
            self._preload(images)
            raw = "sendense/node-raw:build"
            self.engine.run("commit", self.container, raw)
            self._build(
                tag(),
                f"FROM {raw}\nENV container=docker\nSTOPSIGNAL SIGRTMIN+3\n"
                'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]\n',
            )
        finally:
            self.engine.succeeds("rm", "-f", self.container)

    def _build(self, name: str, text: str, files: dict[str, Path] | None = None) -> None:
        """An image from a Dockerfile's text and the files it copies."""
        with tempfile.TemporaryDirectory(dir=self.folder) as context:
            for target, source in (files or {}).items():
                shutil.copy(source, Path(context) / target)
            (Path(context) / "Dockerfile").write_text(text)
            self.engine.run("build", "-q", "-t", name, context)

    def _component(self, name: str, program: Path, inside: str, base: str = "scratch") -> str:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        text = f'FROM {base}\nENV PATH={path}\nCOPY program {inside}\nENTRYPOINT ["{inside}"]\n'
        self._build(name, text, {"program": program})
        return name

    def _component_images(self) -> list[str]:
        """Return what kubeadm and kind expect to find in a node."""
        made = [
            self._component(self.wanted[name], self.kubernetes / name, f"/usr/local/bin/{name}")
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        ]
        made.append(self._component(self.wanted["etcd"], components.etcd() / "etcd", "/usr/local/bin/etcd"))
        made.append(self._component(self.wanted["coredns"], components.coredns() / "coredns", "/coredns"))
        proxy = self.kubernetes / "kube-proxy"
        made.append(self._component(self.wanted["kube-proxy"], proxy, "/usr/local/bin/kube-proxy", _USERLAND))
        pause = self.folder / "pause"
        run("gcc", "-static", "-Os", "-s", "-o", pause, FILES / "pause.c")
        containerd = (self.kind / "images/base/files/etc/containerd/config.toml").read_text()
        made.append(self._component(_match(r'sandbox_image = "(.*)"', containerd), pause, "/pause"))
        storage = self._storage()
        provisioner = components.local_path_provisioner() / "local-path-provisioner"
        name = _match(r'const storageProvisionerImage = "(.*)"', storage)
        made.append(self._component(name, provisioner, "/usr/local/bin/local-path-provisioner"))
        helper = _match(r'const storageHelperImage = "(.*)"', storage)
        self.engine.run("tag", _USERLAND, helper)
        return [*made, helper]

    def _storage(self) -> str:
        return (self.kind / "pkg/build/nodeimage/const_storage.go").read_text()

    def _userland(self) -> None:
        """For kube-proxy and the storage helper: busybox, nft, iptables with each plug-in and its libraries.

        A plug-in that is missing shows late: only a Service with two endpoints needs `statistic`.
        """
        root = self.folder / "userland"
        for name in ("bin", "usr/sbin", "usr/bin", "tmp", "lib64"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        for applet in run("/bin/busybox", "--list").split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        programs = [Path(f"/usr/sbin/{name}") for name in ("nft", "xtables-nft-multi", "conntrack")]
        plugins = sorted(Path(f"{_LIBRARIES}/xtables").glob("*.so"))
        for file in [*programs, *plugins]:
            self._copy(file, root)
        for family in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                (root / f"usr/sbin/{family}{suffix}").symlink_to("xtables-nft-multi")
        for file in [*programs, *plugins]:
            for library in re.findall(r"(/\S+) \(0x", run("ldd", file)):
                if not (root / library.lstrip("/")).exists():
                    self._copy(Path(library), root)
        archive = self.folder / "userland.tar"
        run("tar", "--owner", "0", "--group", "0", "-C", root, "-cf", archive, ".")
        self.engine.run("import", archive, _USERLAND)

    def _copy(self, file: Path, root: Path) -> None:
        target = root / str(file).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)

    def _files(self) -> None:
        """kind's own files, with the settings that a machine without full privileges needs."""
        files = self.folder / "files"
        shutil.copytree(self.kind / "images/base/files", files)
        run("chmod", "-R", "u+w", files)
        run("chmod", "755", *(files / "usr/local/bin").iterdir(), *(files / "kind/bin").iterdir())
        containerd = files / "etc/containerd/config.toml"
        wrong, right = "restrict_oom_score_adj = false", "restrict_oom_score_adj = true"
        containerd.write_text(containerd.read_text().replace(wrong, right))
        manifests = files / "kind/manifests"
        manifests.mkdir(parents=True, exist_ok=True)
        (files / "kind/version").write_text(f"v{KUBERNETES}")
        network = (FILES / "default-cni.yaml").read_text()
        (manifests / "default-cni.yaml").write_text(network.replace("KUBE_PROXY_IMAGE", self.wanted["kube-proxy"]))
        (manifests / "default-storage.yaml").write_text(self._storage_manifest())
        archive = self.folder / "files.tar"
        run("tar", "--owner", "0", "--group", "0", "-C", files, "-cf", archive, ".")
        pipe(["cat", archive], [self.engine.command, "cp", "-", f"{self.container}:/"], self.engine.env)
        self._inside((FILES / "node-setup.sh").read_text())
        for name in ("kubelet", "kubeadm", "kubectl"):
            self.engine.run("cp", self.kubernetes / name, f"{self.container}:/usr/bin/{name}")

    def _storage_manifest(self) -> str:
        """Return the storage class of kind's Go source, where it is text with the images' names left out."""
        source = self._storage()
        text = _match(r"(?s)const defaultStorageManifest = `\n(.*?)\n`\n", source)
        for constant in ("storageProvisionerImage", "storageHelperImage"):
            text = text.replace(f"` + {constant} + `", _match(rf'const {constant} = "(.*)"', source))
        return text + "\n"

    def _preload(self, images: list[str]) -> None:
        """Put the components' images into the node's own image store."""
        engine = [self.engine.command]
        inside = [*engine, "exec", "-i", self.container]
        self.engine.run("exec", "-d", self.container, "sh", "-c", "echo $$ > /tmp/containerd.pid; exec containerd")
        for _ in range(100):
            if succeeds(*inside, "ctr", "info", env=self.engine.env):
                break
            time.sleep(0.2)
        load = ["ctr", "--namespace=k8s.io", "images", "import", "--all-platforms", "--no-unpack", "--digests", "-"]
        pipe([*engine, "save", *images], [*inside, *load], self.engine.env)
        self._inside(
            "pid=$(cat /tmp/containerd.pid); rm /tmp/containerd.pid; kill $pid;"
            " while kill -0 $pid 2>/dev/null; do sleep 0.1; done"
        )

    def _inside(self, script: str) -> None:
        self.engine.run("exec", "-i", self.container, "bash", "-eu", stdin=script)


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if not found:
        raise SetupError(f"kind {KIND}'s sources have nothing like {pattern}: the node image's recipe must follow them")
    return found[1]
