"""One thin way to the API server: plain dicts in and out, over the client certificate of the test cluster's kubeconfig.

Own code on httpx because tests need raw answers (the server's error text, tables, field selectors, impersonation)
and some hundred polls a minute on two cores: kubectl costs 100 ms of processor a call.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from tests.support.objects import Obj

CHECKOUT: Final = Path(__file__).resolve().parents[2]
KUBECONFIG: Final = Path(os.environ.get("KUBECONFIG") or CHECKOUT / "build" / "kubeconfig")
MANAGER: Final = "tests"


GROUP: Final = "backup.sendense.io"
OUR_KINDS: Final = (
    "Backup",
    "BackupChain",
    "BackupPolicy",
    "BackupRepository",
    "ProtectedVM",
    "Restore",
    "VMwareAppliance",
)

_OURS: Final = f"apis/{GROUP}/v1alpha1"
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "Backup": (_OURS, "backups"),
    "BackupChain": (_OURS, "backupchains"),
    "BackupPolicy": (_OURS, "backuppolicies"),
    "BackupRepository": (_OURS, "backuprepositories"),
    "ProtectedVM": (_OURS, "protectedvms"),
    "Restore": (_OURS, "restores"),
    "VMwareAppliance": (_OURS, "vmwareappliances"),
    "Namespace": ("api/v1", "namespaces"),
    "Node": ("api/v1", "nodes"),
    "PersistentVolume": ("api/v1", "persistentvolumes"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "Pod": ("api/v1", "pods"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "ConfigMap": ("api/v1", "configmaps"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "Event": ("api/v1", "events"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "Job": ("apis/batch/v1", "jobs"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices"),
    "MutatingAdmissionPolicy": ("apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicies"),
    "MutatingAdmissionPolicyBinding": ("apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings"),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "VirtualMachine": ("apis/kubevirt.io/v1", "virtualmachines"),
    "SubjectAccessReview": ("apis/authorization.k8s.io/v1", "subjectaccessreviews"),
}
_CLUSTER_WIDE: Final = frozenset(
    {
        "Namespace",
        "Node",
        "PersistentVolume",
        "CustomResourceDefinition",
        "SubjectAccessReview",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    }
)


class ApiError(Exception):
    """The API server refused: `code` is the HTTP status, the text is the server's message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


def path_of(kind: str, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
    """Return the path below the server's root of a collection, an object or one of its subresources."""
    prefix, plural = _KINDS[kind]
    scope = "" if kind in _CLUSTER_WIDE or namespace is None else f"namespaces/{namespace}/"
    return "/".join(part for part in (f"{prefix}/{scope}{plural}", name, sub) if part)


def api_version_of(kind: str) -> str:
    """Such as `batch/v1`."""
    return _KINDS[kind][0].removeprefix("apis/").removeprefix("api/")


@dataclass(frozen=True)
class Kube:
    """The API server."""

    http: httpx.Client

    @classmethod
    def connect(cls, kubeconfig: Path = KUBECONFIG) -> Kube:
        """With the current context of a kubeconfig that carries certificates, as kind writes it."""
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        context = _named(config["contexts"], config["current-context"])["context"]
        server = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        verify = ssl.create_default_context(cadata=_decoded(server["certificate-authority-data"]).decode())
        with _as_files(user["client-certificate-data"], user["client-key-data"]) as (certificate, key):
            verify.load_cert_chain(certificate, key)
        # Retries of the connection only: a request that went out is never sent twice.
        transport = httpx.HTTPTransport(verify=verify, retries=3)
        return cls(httpx.Client(base_url=server["server"], transport=transport, timeout=60))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the raw answer. Raises ApiError unless it is 2xx."""
        response = self.http.request(method, f"/{path}", **options)
        if response.is_success:
            return response
        try:
            message = response.json()["message"]
        except (ValueError, KeyError, TypeError):
            message = response.text
        raise ApiError(response.status_code, message)

    def get(self, kind: str, name: str, namespace: str | None = None) -> Obj:
        """Return one object. Raises ApiError 404 when it is not there."""
        return _object(self.request("GET", path_of(kind, namespace, name)))

    def find(self, kind: str, name: str, namespace: str | None = None) -> Obj | None:
        """Return one object, or None."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.code == httpx.codes.NOT_FOUND:
                return None
            raise

    def select(
        self, kind: str, namespace: str | None = None, *, labels: str | None = None, fields: str | None = None
    ) -> list[Obj]:
        """Return the objects of a namespace, or of all; `labels` and `fields` are selectors."""
        query = {k: v for k, v in (("labelSelector", labels), ("fieldSelector", fields)) if v}
        found = _object(self.request("GET", path_of(kind, namespace), params=query))
        items: list[Obj] = found["items"]
        return [{"kind": kind, "apiVersion": api_version_of(kind), **item} for item in items]

    def create(self, obj: Mapping[str, Any], *, user: str | None = None) -> Obj:
        """Create an object (strict: unknown fields are refused)."""
        body = {"apiVersion": api_version_of(obj["kind"]), **obj}
        return _object(
            self.request(
                "POST",
                path_of(obj["kind"], obj["metadata"].get("namespace")),
                json=body,
                params={"fieldManager": MANAGER, "fieldValidation": "Strict"},
                headers=_impersonate(user),
            )
        )

    def apply(self, obj: Mapping[str, Any]) -> Obj:
        """Server-side apply."""
        body = {"apiVersion": api_version_of(obj["kind"]), **obj}
        meta = obj["metadata"]
        return _object(
            self.request(
                "PATCH",
                path_of(obj["kind"], meta.get("namespace"), meta["name"]),
                content=yaml.safe_dump(body),
                params={"fieldManager": MANAGER, "force": "true"},
                headers={"Content-Type": "application/apply-patch+yaml"},
            )
        )

    def merge(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        patch: Mapping[str, Any],
        *,
        sub: str | None = None,
        user: str | None = None,
    ) -> Obj:
        """JSON merge patch of an object or of its subresource."""
        return _object(
            self.request(
                "PATCH",
                path_of(kind, namespace, name, sub),
                json=patch,
                params={"fieldManager": MANAGER},
                headers={"Content-Type": "application/merge-patch+json", **_impersonate(user)},
            )
        )

    def delete(self, kind: str, name: str, namespace: str | None = None, *, grace: int | None = None) -> None:
        """Delete; an object that is gone already is fine."""
        body: Obj = {"propagationPolicy": "Background"}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        try:
            self.request("DELETE", path_of(kind, namespace, name), json=body)
        except ApiError as error:
            if error.code != httpx.codes.NOT_FOUND:
                raise

    def table(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        """Return what `kubectl get -o wide` shows: a dict of column and cell for each object."""
        shown = self._table(kind, namespace)
        names = [column["name"] for column in shown["columnDefinitions"]]
        return [dict(zip(names, row["cells"], strict=True)) for row in shown["rows"]]

    def columns(self, kind: str, namespace: str) -> list[str]:
        """Return the columns of `kubectl get`, without those of `-o wide`."""
        return [c["name"] for c in self._table(kind, namespace)["columnDefinitions"] if c["priority"] == 0]

    def _table(self, kind: str, namespace: str) -> Obj:
        accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        return _object(self.request("GET", path_of(kind, namespace), headers=accept))

    def bind(self, namespace: str, role: str, user: str) -> None:
        """Give a user one of the cluster's roles in a namespace."""
        group = "rbac.authorization.k8s.io"
        self.apply(
            {
                "kind": "RoleBinding",
                "metadata": {"name": f"{user}-{role}", "namespace": namespace},
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
            }
        )

    def logs(self, pod: str, namespace: str, *, container: str | None = None, previous: bool = False) -> str:
        """Return a container's log so far; the reason in brackets when there is none."""
        query = {"previous": str(previous).lower(), **({"container": container} if container else {})}
        try:
            return self.request("GET", path_of("Pod", namespace, pod, "log"), params=query).text
        except ApiError as error:
            return f"[no log: {error.message}]"


def _named(entries: list[Obj], name: str) -> Obj:
    return next(entry for entry in entries if entry["name"] == name)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)


@contextmanager
def _as_files(*encoded: str) -> Iterator[list[str]]:
    """`ssl` reads a client's key from files only."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(number) for number in range(len(encoded))]
        for path, text in zip(paths, encoded, strict=True):
            path.touch(mode=0o600)
            path.write_bytes(_decoded(text))
        yield [str(path) for path in paths]


def _object(response: httpx.Response) -> Obj:
    answer: Obj = response.json()
    return answer


def _impersonate(user: str | None) -> dict[str, str]:
    return {"Impersonate-User": user} if user else {}
