"""A pod of the namespace that uses what the product offers, as a user's own would."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support import images, manifests
from tests.support.objects import Obj
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace


def run_in_pod(
    space: Workspace, name: str, script: str, *arguments: str, secret: str = "", claims: Sequence[str] = ()
) -> str:
    """Return the output of a shell script in a pod with the operator's image.

    A Secret's files are in /keys, and each claim is mounted at /CLAIM.
    """
    container: Obj = {
        "name": "main",
        "image": images.operator_image(space),
        "command": ["sh", "-c", script, name, *arguments],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    container["volumeMounts"] = [{"name": claim, "mountPath": f"/{claim}"} for claim in claims]
    volumes: list[Obj] = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    if secret:
        container["volumeMounts"].append({"name": "keys", "mountPath": "/keys", "readOnly": True})
        volumes.append({"name": "keys", "secret": {"secretName": secret}})
    pod: Obj = {"restartPolicy": "Never", "automountServiceAccountToken": False}
    spec: Obj = {**pod, "containers": [container], "volumes": volumes}
    space.kube.create(manifests.manifest("Pod", name, space.namespace, spec))

    def ended() -> str:
        phase = space.status(name, "Pod").get("phase")
        until(phase in ("Succeeded", "Failed"), phase)
        return str(phase)

    phase = wait_for(f"the end of pod {name}", ended, timeout=SLOW_MACHINE)
    output = space.kube.logs(name, space.namespace)
    assert phase == "Succeeded", output
    return output
