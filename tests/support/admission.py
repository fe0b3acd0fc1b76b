"""Pods of one namespace, changed on their way in: a program is exchanged without another image or another operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from tests.support.kube import Kube, path_of
from tests.support.waiting import until, wait_for

Object = dict[str, Any]

_FILE: Final = "file"


@contextmanager
def mutated_pods(kube: Kube, namespace: str, path: str, script: str) -> Iterator[None]:
    """Every container that is created while the block runs has the executable `script` at `path`."""
    name = f"{namespace}-mutation"
    kube.create(
        {"kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {_FILE: script}},
    )
    kube.create(_policy(name, path))
    try:
        kube.create(_binding(name, namespace))
        wait_for("the policy in force", partial(_in_force, kube, namespace, name), timeout=60)
        yield
    finally:
        kube.delete("MutatingAdmissionPolicyBinding", name)
        kube.delete("MutatingAdmissionPolicy", name)
        wait_for("the policy gone", partial(_no_longer, kube, namespace, name), timeout=60)


def _policy(name: str, path: str) -> Object:
    volume = {"name": name, "configMap": {"name": name, "defaultMode": 0o555}}
    mount = {"name": name, "mountPath": path, "subPath": _FILE, "readOnly": True}
    patches = ", ".join(
        f'JSONPatch{{op: "add", path: "{where}", value: {_cel(value)}}}'
        for where, value in (("/spec/volumes/-", volume), ("/spec/containers/0/volumeMounts/-", mount))
    )
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{patches}]"}}],
        },
    }


def _cel(value: Any) -> str:
    """A literal of CEL; `dyn`, because the values of a map would else have to be of one type."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: dyn({_cel(inner)})" for key, inner in value.items()) + "}"
    return json.dumps(value)


def _binding(name: str, namespace: str) -> Object:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "matchResources": {"namespaceSelector": selector}},
    }


def _in_force(kube: Kube, namespace: str, name: str) -> None:
    until(name in _volumes(kube, namespace), "pods are not changed yet")


def _no_longer(kube: Kube, namespace: str, name: str) -> None:
    until(name not in _volumes(kube, namespace), "pods are still changed")


def _volumes(kube: Kube, namespace: str) -> list[str]:
    """Of a pod that is not really made."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    mount = {"name": "scratch", "mountPath": "/tmp"}
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asked", "namespace": namespace},
        "spec": {
            "containers": [{"name": "main", "image": "none", "securityContext": security, "volumeMounts": [mount]}],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }
    made = kube.request("POST", path_of("Pod", namespace), json=pod, params={"dryRun": "All"}).json()
    return [str(volume["name"]) for volume in made["spec"]["volumes"]]
