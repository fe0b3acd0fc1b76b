"""KubeVirt's definition of a VirtualMachine, out of its Go module: for tests of the objects that the operator makes."""

from __future__ import annotations

import textwrap
from pathlib import Path

from .settings import KUBEVIRT
from .shell import SetupError, lock, scratch
from .tools import built, module_folder

_SCHEMAS = "pkg/virt-operator/resource/generate/components/validations_generated.go"
"""Go source with the schema of each kind as YAML in a raw string: what KubeVirt's operator installs."""
_HEAD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: virtualmachines.kubevirt.io
spec:
  group: kubevirt.io
  scope: Namespaced
  names:
    plural: virtualmachines
    singular: virtualmachine
    kind: VirtualMachine
    shortNames: [vm, vms]
  versions:
    - name: v1
      served: true
      storage: true
      subresources:
        status: {}
      schema:
"""


def definition() -> Path:
    """Return the file with the CustomResourceDefinition, written when missing. Raises SetupError."""
    target = built("kubevirt", KUBEVIRT)
    with lock(target.name):
        if not target.exists():
            source = (module_folder("kubevirt.io/kubevirt", KUBEVIRT) / _SCHEMAS).read_text(encoding="utf-8")
            with scratch(target) as folder:
                (folder / "virtualmachines.yaml").write_text(_HEAD + schema_of(source, "virtualmachine"), "utf-8")
    return target / "virtualmachines.yaml"


def schema_of(source: str, kind: str) -> str:
    """Return the schema of a kind in KubeVirt's Go source, indented as _HEAD needs it. Raises SetupError."""
    _, found, rest = source.partition(f'"{kind}": `')
    text, closed, _ = rest.partition("`")
    if not found or not closed or not text.startswith("openAPIV3Schema:"):
        raise SetupError(f"KubeVirt {KUBEVIRT} has no schema of {kind} in {_SCHEMAS}")
    return textwrap.indent(text, " " * 8)
