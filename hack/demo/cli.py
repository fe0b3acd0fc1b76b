"""The demo, step by step."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from . import proof, sample
from .kubectl import CHECKOUT, KUBECONFIG, DemoError, call, forwarded, get, kubectl, sendense
from .sizes import size

_EXAMPLES: Final = CHECKOUT / "examples" / "quickstart"
_BACKUP_FILE: Final = _EXAMPLES / "40-backup.yaml"
_INCREMENT_FILE: Final = _EXAMPLES.parent / "incrementals" / "auto.yaml"
_RESTORE_FILE: Final = _EXAMPLES.parent / "restores" / "into-claims.yaml"
_POLICY_FILE: Final = _EXAMPLES.parent / "policies" / "nightly.yaml"
NAMESPACE: Final = "sendense-demo"
"""Not the examples' own: somebody may have applied them as they are."""
LABEL: Final = "sendense-demo"
"""Of that namespace. The tests remove it where they have to remove everything."""
_PLACE: Final = re.compile(r"^(  namespace|kind: Namespace\nmetadata:\n  name): backups$", re.MULTILINE)
_APPLIANCE: Final = "vma-dc1"
_VMA: Final = ("reference-vma", 8081, proof.NAMESPACE)
_WAIT: Final = "180s"
_steps: int = 0


def main() -> int:
    """Return the exit code: 0 when every disk is identical."""
    try:
        return 0 if _demo() else 1
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ndemo: stopped; run it again whenever you like", file=sys.stderr)
    return 1


def _demo() -> bool:
    _require_operator()
    _step("The reference VMA, with a VM of two disks: an ext4 full of files, and a data disk")
    image = _deploy_vma()
    with forwarded(*_VMA) as control:
        vm = sample.ensure_vm(control, _VMA[0], proof.NAMESPACE)
        for disk in vm["disks"]:
            print(f"  {vm['path']}  disk {disk['key']}  {disk['size'] >> 20} MiB")
        _step(f"What a user applies: examples/quickstart, here in the namespace {NAMESPACE}")
        _apply_examples()
        _connect(control)
    _step("One Backup")
    full = _follow(_apply_backup(_BACKUP_FILE))
    _step("What is there now")
    _show_objects(full)
    node = full["status"]["nodeName"]
    claim = get("brepo", full["spec"]["repositoryRef"]["name"], "-n", NAMESPACE)["spec"]["claimName"]
    with proof.pod(image, {"repository": claim}, NAMESPACE, node):
        _step(f"Where the files lie: in the claim {claim}, on node {node}")
        proof.show_files(full, NAMESPACE)
        _step("The proof: every QCOW2 against its source disk, then a file out of the backup")
        same = proof.compare(full, vm)
        same = proof.read_file(full) and same
        increment = _increment(full, vm)
        _step("The proof of both: the increment is the disks of now, the full those of then")
        same = proof.compare(increment, vm) and same
        same = proof.compare(full, vm, kept=True) and same
    _step("A Restore of the increment: each disk becomes an image in a claim of its own")
    restore = _follow(_apply_restore(increment["metadata"]["name"]), "Restore")
    print(f"\n  $ kubectl get brst\n{_indented(kubectl('get', 'brst', '-n', NAMESPACE))}")
    claims = {proof.restored_folder(disk["index"]): disk["claimName"] for disk in restore["status"]["disks"]}
    with proof.pod(image, claims, NAMESPACE, restore["status"]["nodeName"]):
        _step("The proof of the restore: every image against its source disk, and a check of the file system")
        same = proof.compare_restored(restore, vm) and same
    if not same:
        print("\ndemo: a backup or a restore is NOT identical to its source", file=sys.stderr)
        return False
    _step("From now on each night: a policy for the VMs that have its label")
    _protect()
    _say_next(increment["metadata"]["name"])
    return True


def _increment(full: dict[str, Any], vm: dict[str, Any]) -> dict[str, Any]:
    """Change the VM, and back up what changed; the Backup."""
    _step("The VM goes on: its data disk changes here and there")
    proof.keep_sources(vm)
    with forwarded(*_VMA) as control:
        print(f"  {size(sample.change(control, full['metadata']['uid']))} written")
    _step("An incremental Backup: only what changed is sent")
    backup = _follow(_apply_backup(_INCREMENT_FILE))
    print("  Per disk, in its status:")
    for disk in backup["status"]["disks"]:
        begun = f"on {disk['parent']}, {disk['parentChangeID']} →" if "parent" in disk else disk.get("reason", "")
        print(f"    disk {disk['id']}: {disk['type']} {begun} {disk['changeID']}, stored {size(disk['storedBytes'])}")
    _wait_for_chain(backup)
    print(f"\n  $ kubectl get bchain\n{_indented(kubectl('get', 'bchain', '-n', NAMESPACE))}")
    return backup


def _protect() -> None:
    print(f"  {_applied(_POLICY_FILE)}", end="")
    print(f"  {kubectl('label', '--overwrite', 'protectedvm', 'pgtest1', '-n', NAMESPACE, 'backup=gold')}", end="")
    _wait_ready("backuppolicy", "nightly")
    print(f"\n  $ kubectl get bpol\n{_indented(kubectl('get', 'bpol', '-n', NAMESPACE))}")


def _require_operator() -> None:
    found = get("deployments", "-A", "-l", "app.kubernetes.io/name=sendense-backup")["items"]
    if not found:
        raise DemoError("the operator is not installed: `make demo` does that, or `make install`")
    for item in found:
        meta = item["metadata"]
        kubectl("rollout", "status", f"deployment/{meta['name']}", "-n", meta["namespace"], f"--timeout={_WAIT}")


def _step(title: str) -> None:
    global _steps  # noqa: PLW0603 - a counter for the eye
    _steps += 1
    print(f"\n━━ {_steps}. {title}\n", flush=True)


def _deploy_vma() -> str:
    """Deploy the reference VMA; the name of its image, which the cluster holds."""
    _cluster("load")
    image = next(name for name in _cluster("images").split() if name.startswith("sendense-reference-vma:"))
    manifest = (CHECKOUT / "hack" / "reference-vma" / "deploy.yaml").read_text(encoding="utf-8")
    kubectl("apply", "-f", "-", given=re.sub(r"(image: )sendense-reference-vma\S*", rf"\g<1>{image}", manifest))
    kubectl("rollout", "status", "deployment/reference-vma", "-n", proof.NAMESPACE, f"--timeout={_WAIT}")
    print(f"  {image}")
    return image


def _cluster(command: str) -> str:
    """Return one of `hack/cluster`'s commands; its standard output."""
    done = subprocess.run([CHECKOUT / "hack" / "cluster", command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(done.stderr.strip())
    return done.stdout


def _apply_examples() -> None:
    for file in sorted(_EXAMPLES.glob("*.yaml")):
        if file != _BACKUP_FILE:
            print(f"  {_applied(file)}", end="")
    kubectl("label", "--overwrite", "namespace", NAMESPACE, f"{LABEL}=true")
    for kind, name in (("vmwareappliance", _APPLIANCE), ("backuprepository", "main"), ("protectedvm", "pgtest1")):
        _wait_ready(kind, name)
    print(f"\n{_indented(kubectl('get', 'vma,brepo,pvm', '-n', NAMESPACE))}")


def _applied(file: Path) -> str:
    return kubectl("apply", "-f", "-", given=in_namespace(file.read_text(encoding="utf-8")))


def in_namespace(text: str) -> str:
    """Return an example's file with the demo's namespace for its own."""
    return _PLACE.sub(rf"\g<1>: {NAMESPACE}", text)


def _wait_ready(kind: str, name: str) -> None:
    try:
        kubectl("wait", f"{kind}/{name}", "-n", NAMESPACE, "--for=condition=Ready", f"--timeout={_WAIT}")
    except DemoError as error:
        raise DemoError(f"{error}\n\n{kubectl('describe', kind, name, '-n', NAMESPACE)}") from error


def _connect(control: str) -> None:
    """What an administrator does once on the appliance: set its control-plane URL."""
    url = get("vmwareappliance", _APPLIANCE, "-n", NAMESPACE)["status"]["callbackURL"]
    call("PATCH", f"{control}/_control/settings", {"control_plane": url})
    print(f"\n  On the appliance the control-plane URL is now what its status shows:\n  {url}")


def _apply_backup(file: Path) -> str:
    """Apply a Backup of the examples; under its next free name when it was there before."""
    text = in_namespace(file.read_text(encoding="utf-8"))
    found = re.search(r"^  name: (\S+)$", text, re.MULTILINE)
    if not found:
        raise DemoError(f"{file} names no Backup")
    taken = {item["metadata"]["name"] for item in get("backups", "-n", NAMESPACE)["items"]}
    name = free_name(found[1], taken)
    print(_indented(text[text.index("apiVersion") :].replace(found[0], f"  name: {name}")))
    print(f"  {kubectl('apply', '-f', '-', given=text.replace(found[0], f'  name: {name}'))}")
    return name


def _apply_restore(backup: str) -> str:
    """Apply the Restore of the examples for this Backup, with claims of its own; its name."""
    text = in_namespace(_RESTORE_FILE.read_text(encoding="utf-8"))
    taken = {item["metadata"]["name"] for item in get("restores", "-n", NAMESPACE)["items"]}
    name = free_name("pgtest1-back", taken)
    text = text.replace("pgtest1-disk-", f"{name}-disk-").replace("pgtest1-back\n", f"{name}\n")
    text = text.replace("name: pgtest1-full", f"name: {backup}")
    print(_indented(text[text.index("apiVersion") :]))
    print(f"  {_indented(kubectl('apply', '-f', '-', given=text)).lstrip()}")
    return name


def free_name(name: str, taken: set[str]) -> str:
    """`name`, or the first of name-2, name-3, … that nobody has."""
    number = 1
    while (candidate := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return candidate


def _follow(name: str, kind: str = "Backup") -> dict[str, Any]:
    """Show a Backup or Restore until it ends; the object. Raises DemoError unless it completed."""
    print(f"  $ kubectl sendense wait {name} -n {NAMESPACE}", flush=True)
    if sendense("wait", f"{kind.lower()}/{name}", "-n", NAMESPACE) != 0:
        raise DemoError(f"the {kind} did not complete\n\n{kubectl('describe', kind.lower(), name, '-n', NAMESPACE)}")
    return get(kind.lower(), name, "-n", NAMESPACE)


def _wait_for_chain(backup: dict[str, Any]) -> None:
    """The chain learns of the restore point a moment later."""
    chain, name = backup["status"]["chainName"], backup["metadata"]["name"]
    until = f"--for=jsonpath={{.status.latestBackup}}={name}"
    kubectl("wait", f"backupchain/{chain}", "-n", NAMESPACE, until, f"--timeout={_WAIT}")


def _show_objects(backup: dict[str, Any]) -> None:
    _wait_for_chain(backup)
    for command in (("get", "backups", "-n", NAMESPACE), ("get", "bchain,brepo,vma,pvm", "-n", NAMESPACE)):
        print(f"  $ kubectl {' '.join(command)}\n{_indented(kubectl(*command))}")


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def _say_next(name: str) -> None:
    print(f"""
━━ Done. The cluster stays up. Try next:

  export KUBECONFIG={KUBECONFIG}
  kubectl describe backup {name} -n {NAMESPACE}    # conditions and Events tell the story
  export PATH={CHECKOUT}/.venv/bin:$PATH
  kubectl sendense status -n {NAMESPACE}                # is every VM protected?
  kubectl sendense chain pgtest1 -n {NAMESPACE}         # its restore points and their layers
  kubectl explain backup.spec                              # every field has a description
  kubectl get backups -A --field-selector status.phase=Completed
  kubectl annotate bpol nightly -n {NAMESPACE} backup.sendense.io/run=now    # the policy's backups now
  kubectl delete backup pgtest1-full -n {NAMESPACE}    # what the increment needs of it stays
  make demo                                                # once more, new restore points
  make down                                                # removes all of it
""")
