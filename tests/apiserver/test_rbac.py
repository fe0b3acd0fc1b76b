"""Rights of the chart's service accounts: all they need and nothing else, asked of the API server itself."""

from __future__ import annotations

from typing import Final

import pytest
from tests.support import chart
from tests.support.kube import Kube

GROUP: Final = "backup.sendense.io"
ALL: Final = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
ELSEWHERE: Final = "kube-system"

Rights = dict[tuple[str, str], set[str]]

CONTROLLER: Final[Rights] = {
    (GROUP, "backups"): {"get", "list", "watch", "create", "patch", "delete"},
    (GROUP, "backupchains"): {"get", "list", "watch", "create", "patch"},
    (GROUP, "backuppolicies"): {"get", "list", "watch"},
    (GROUP, "backuprepositories"): {"get", "list", "watch"},
    (GROUP, "protectedvms"): {"get", "list", "watch", "create", "patch"},
    (GROUP, "restores"): {"get", "list", "watch", "patch"},
    (GROUP, "vmwareappliances"): {"get", "list", "watch"},
    (GROUP, "restores/status"): {"patch"},
    (GROUP, "backups/status"): {"patch"},
    (GROUP, "backupchains/status"): {"patch"},
    (GROUP, "backuppolicies/status"): {"patch"},
    (GROUP, "backuprepositories/status"): {"patch"},
    (GROUP, "protectedvms/status"): {"patch"},
    (GROUP, "vmwareappliances/status"): {"patch"},
    ("batch", "jobs"): {"get", "list", "watch", "create", "patch", "delete"},
    ("kubevirt.io", "virtualmachines"): {"get", "create", "patch", "delete"},
    ("", "secrets"): {"get", "create"},
    ("", "configmaps"): set(),
    ("", "pods/exec"): set(),
    ("", "pods/log"): {"get"},
    ("", "serviceaccounts"): set(),
    ("", "serviceaccounts/token"): set(),
    ("apps", "deployments"): set(),
    ("rbac.authorization.k8s.io", "roles"): set(),
    ("rbac.authorization.k8s.io", "clusterroles"): set(),
}
GATEWAY: Final[Rights] = {
    ("", "pods"): {"list", "watch"},
    ("", "secrets"): set(),
    ("", "configmaps"): set(),
    ("", "services"): set(),
    ("", "pods/exec"): set(),
    ("batch", "jobs"): set(),
    (GROUP, "backups"): set(),
    (GROUP, "backups/status"): set(),
    (GROUP, "vmwareappliances"): {"list", "watch"},
    (GROUP, "vmwareappliances/status"): set(),
    ("authentication.k8s.io", "tokenreviews"): set(),
    ("authorization.k8s.io", "subjectaccessreviews"): set(),
    ("coordination.k8s.io", "leases"): set(),
}
REST: Final[Rights] = {
    ("", "pods"): set(),
    ("", "secrets"): set(),
    ("", "configmaps"): set(),
    ("", "services"): set(),
    (GROUP, "backups"): {"list", "watch"},
    (GROUP, "backupchains"): {"list", "watch"},
    (GROUP, "backuprepositories"): {"list", "watch"},
    (GROUP, "protectedvms"): {"list", "watch"},
    (GROUP, "restores"): {"list", "watch"},
    (GROUP, "backups/status"): set(),
    (GROUP, "restores/status"): set(),
    (GROUP, "vmwareappliances"): set(),
    ("authentication.k8s.io", "tokenreviews"): {"create"},
    ("authorization.k8s.io", "subjectaccessreviews"): {"create"},
    ("coordination.k8s.io", "leases"): set(),
}
WORKER: Final[Rights] = {
    ("", "pods"): set(),
    ("", "secrets"): set(),
    (GROUP, "backups"): set(),
    (GROUP, "backups/status"): set(),
}


def _cases(component: str, rights: Rights) -> list[tuple[str, str, str, str, bool]]:
    return [
        (component, group, resource, verb, verb in allowed)
        for (group, resource), allowed in rights.items()
        for verb in ALL
    ]


def _may(kube: Kube, user: str, verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
    resource, _, sub = resource.partition("/")
    review = {
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": user,
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": sub,
                "name": name,
            },
        },
    }  # fmt: skip
    return bool(kube.create(review)["status"]["allowed"])


def _user(kube: Kube, component: str) -> str:
    if component == "worker":
        return f"system:serviceaccount:{ELSEWHERE}:default"
    meta = chart.only(kube, "ServiceAccount", component)["metadata"]
    return f"system:serviceaccount:{meta['namespace']}:{meta['name']}"


@pytest.mark.parametrize(
    ("component", "rights"), [("controller", CONTROLLER), ("gateway", GATEWAY), ("api", REST), ("worker", WORKER)]
)
def test_rights_in_any_namespace(kube: Kube, operator: str, component: str, rights: Rights) -> None:
    user = _user(kube, component)
    asked = _cases(component, rights)
    wrong = [
        f"{verb} {group}/{resource}: {'missing' if allowed else 'too much'}"
        for _, group, resource, verb, allowed in asked
        if _may(kube, user, verb, group, resource, ELSEWHERE) is not allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("component", ["controller", "gateway", "api"])
def test_no_rights_over_the_cluster(kube: Kube, operator: str, component: str) -> None:
    user = _user(kube, component)
    for verb, group, resource in (
        ("create", "", "namespaces"),
        ("delete", "", "nodes"),
        ("patch", "", "nodes"),
        ("create", "", "persistentvolumes"),
        ("delete", "", "persistentvolumes"),
        ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
        ("patch", "apiextensions.k8s.io", "customresourcedefinitions"),
        ("impersonate", "", "users"),
    ):
        assert not _may(kube, user, verb, group, resource, ""), f"{component} may {verb} {resource}"


def test_the_lease_is_the_controllers_and_at_home_only(kube: Kube, operator: str) -> None:
    user, group = _user(kube, "controller"), "coordination.k8s.io"
    own = chart.only(kube, "Deployment", "controller")["metadata"]["name"]
    assert kube.get("Lease", own, operator)["spec"]["holderIdentity"], "the controller holds it"
    assert _may(kube, user, "patch", group, "leases", operator, own)
    assert not _may(kube, user, "patch", group, "leases", operator, "another")
    assert not _may(kube, user, "patch", group, "leases", ELSEWHERE, own)


def test_of_all_secrets_the_controller_changes_that_of_rests_certificate(kube: Kube, operator: str) -> None:
    user = _user(kube, "controller")
    own = chart.only(kube, "Secret", "api")["metadata"]["name"]
    assert {verb for verb in ALL if _may(kube, user, verb, "", "secrets", operator, own)} == {"get", "create", "patch"}
    for verb in ("update", "patch", "delete"):
        assert not _may(kube, user, verb, "", "secrets", operator, "another")
        assert not _may(kube, user, verb, "", "secrets", ELSEWHERE, own)


def test_users_get_the_kinds_with_the_clusters_own_roles(kube: Kube, operator: str, namespace: str) -> None:
    """`view` reads, `edit` makes backups, and only `admin` says where to and by which appliance."""
    expected = {
        ("view", "backups"): {"get", "list", "watch"},
        ("edit", "backups"): {*ALL},
        ("view", "restores"): {"get", "list", "watch"},
        ("edit", "restores"): {*ALL},
        ("edit", "vmwareappliances"): {"get", "list", "watch"},
        ("admin", "vmwareappliances"): {*ALL},
        ("admin", "backuprepositories"): {*ALL},
    }
    for role in ("view", "edit", "admin"):
        kube.bind(namespace, role, f"{role}-user")
    got = {
        (role, resource): {verb for verb in ALL if _may(kube, f"{role}-user", verb, GROUP, resource, namespace)}
        for role, resource in expected
    }
    assert got == expected
    for role in ("view", "edit", "admin"):
        assert not _may(kube, f"{role}-user", "patch", GROUP, "backups/status", namespace)
