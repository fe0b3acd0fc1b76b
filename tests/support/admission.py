"""Pods of one namespace, changed on their way in: another program or a container more, without another image
or another operator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from tests.support.kube import Kube, path_of
from tests.support.objects import Obj
from tests.support.waiting import until, wait_for

_FILE: Final = "file"
_RESTRICTED: Final[Obj] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@contextmanager
def mutated_pods(kube: Kube, namespace: str, path: str, script: str) -> Iterator[None]:
    """Every container that is created while the block runs has the executable `script` at `path`."""
    name = f"{namespace}-mutation"
    kube.create(
        {"kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {_FILE: script}},
    )
    volume = {"name": name, "configMap": {"name": name, "defaultMode": 0o555}}
    mount = {"name": name, "mountPath": path, "subPath": _FILE, "readOnly": True}
    patches = [_add("/spec/volumes/-", volume), _add("/spec/containers/0/volumeMounts/-", mount)]
    with _policy(kube, namespace, name, _list(*patches), lambda pod: name in _names(pod, "volumes")):
        yield


@contextmanager
def foreign_container(kube: Kube, namespace: str, container: Obj, *, native: bool = False) -> Iterator[None]:
    """Every pod that is created while the block runs gets this container, before its own ones.

    `native`: as a native sidecar, that is as an init container that runs as long as the pod does.
    """
    name = f"{namespace}-{container['name']}"
    container = {"securityContext": _RESTRICTED, **container}
    if native:
        # a pod may have no init containers
        first = _list(_add("/spec/initContainers/0", {**container, "restartPolicy": "Always"}))
        only = _list(_add("/spec/initContainers", [{**container, "restartPolicy": "Always"}]))
        expression = f"has(object.spec.initContainers) ? {first} : {only}"
    else:
        expression = _list(_add("/spec/containers/0", container))
    field = "initContainers" if native else "containers"
    with _policy(kube, namespace, name, expression, lambda pod: container["name"] in _names(pod, field)):
        yield


def _add(where: str, value: Any) -> str:
    return f'JSONPatch{{op: "add", path: "{where}", value: {_cel(value)}}}'


def _list(*items: str) -> str:
    return f"[{', '.join(items)}]"


@contextmanager
def _policy(kube: Kube, namespace: str, name: str, expression: str, changed: Callable[[Obj], bool]) -> Iterator[None]:
    """A policy for pods of the namespace, in force while the block runs. `changed`: whether a pod has met it."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    kube.create(
        {
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule]},
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
            },
        }
    )
    try:
        kube.create(_binding(name, namespace))
        wait_for("the policy in force", partial(_is_changed, kube, namespace, changed, True), timeout=60)
        yield
    finally:
        if kube.find("MutatingAdmissionPolicyBinding", name) is not None:
            kube.delete("MutatingAdmissionPolicyBinding", name)
        kube.delete("MutatingAdmissionPolicy", name)
        wait_for("the policy gone", partial(_is_changed, kube, namespace, changed, False), timeout=60)


def _cel(value: Any) -> str:
    """Return a literal of CEL; `dyn`, because the values of a map would else have to be of one type."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: dyn({_cel(inner)})" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return _list(*(f"dyn({_cel(inner)})" for inner in value))
    return json.dumps(value)


def _binding(name: str, namespace: str) -> Obj:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "matchResources": {"namespaceSelector": selector}},
    }


def _is_changed(kube: Kube, namespace: str, changed: Callable[[Obj], bool], wanted: bool) -> None:
    until(changed(_asked(kube, namespace)) is wanted, f"pods are {'not changed yet' if wanted else 'still changed'}")


def _names(pod: Obj, field: str) -> list[str]:
    return [str(item["name"]) for item in pod["spec"].get(field, [])]


def _asked(kube: Kube, namespace: str) -> Obj:
    """Return a pod that is not really made, as it would be."""
    mount = {"name": "scratch", "mountPath": "/tmp"}
    pod: Obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asked", "namespace": namespace},
        "spec": {
            "containers": [{"name": "main", "image": "none", "securityContext": _RESTRICTED, "volumeMounts": [mount]}],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }
    made: Obj = kube.request("POST", path_of("Pod", namespace), json=pod, params={"dryRun": "All"}).json()
    return made
