"""The rights that the chart gives, each of them, and where."""

from __future__ import annotations

from typing import Any, Final

import pytest
from tests.support.objects import Obj

from .conftest import Render, all_of, environment, one

_OURS: Final = "backup.sendense.io"
_KINDS: Final = (
    "backups",
    "backupchains",
    "backuppolicies",
    "backuprepositories",
    "protectedvms",
    "restores",
    "vmwareappliances",
)

_OWNERS: Final = ("backups", "backupchains", "backuprepositories", "restores")


def _granted(role: Obj) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of each rule."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _verbs(role: Obj, group: str, resource: str) -> set[str]:
    return {verb for where, what, verb in _granted(role) if (where, what) == (group, resource)}


@pytest.mark.parametrize(
    ("group", "resource", "verbs"),
    [
        ("", "secrets", {"get", "create"}),
        ("", "persistentvolumeclaims", {"get", "create", "patch"}),
        ("", "pods", {"get", "list", "watch", "create", "delete"}),
        ("", "services", {"get", "create", "delete"}),
        ("networking.k8s.io", "networkpolicies", {"get", "create", "delete"}),
        ("", "events", {"get", "create", "patch"}),
        ("batch", "jobs", {"get", "list", "watch", "create", "patch", "delete"}),
        (_OURS, "backups", {"get", "list", "watch", "create", "patch", "delete"}),
        (_OURS, "protectedvms", {"get", "list", "watch", "create", "patch"}),
        ("kubevirt.io", "virtualmachines", {"get", "create", "patch", "delete"}),
        ("kubevirt.io", "virtualmachineinstances", set()),
        ("", "pods/log", {"get"}),
        (_OURS, "backupchains", {"get", "list", "watch", "create", "patch"}),
        (_OURS, "backuppolicies", {"get", "list", "watch"}),
        (_OURS, "restores", {"get", "list", "watch", "patch"}),
        (_OURS, "vmwareappliances", {"get", "list", "watch"}),
        *((_OURS, f"{kind}/status", {"patch"}) for kind in _KINDS),
        # of the Jobs' owners, where the cluster's admission checks references that block a deletion
        *((_OURS, f"{kind}/finalizers", {"update"}) for kind in _OWNERS),
        ("", "configmaps", set()),
        ("", "pods/exec", set()),
        ("", "nodes", set()),
    ],
)
def test_controller_may(render: Render, group: str, resource: str, verbs: set[str]) -> None:
    assert _verbs(one(render(), "ClusterRole", "-controller"), group, resource) == verbs


def test_without_virtual_machines_the_controller_has_no_rights_to_any(render: Render) -> None:
    role = one(render({"rbac": {"virtualMachines": False}}), "ClusterRole", "-controller")
    assert _verbs(role, "kubevirt.io", "virtualmachines") == set()


def test_gateway_and_rest_read_what_they_need_and_nothing_else(render: Render) -> None:
    pods = {("", "pods", verb) for verb in ("list", "watch")}
    appliances = {(_OURS, "vmwareappliances", verb) for verb in ("list", "watch")}
    assert _granted(one(render(), "ClusterRole", "-gateway")) == pods | appliances
    shown = ("backups", "backupchains", "backuprepositories", "protectedvms", "restores")
    reads = {(_OURS, kind, verb) for kind in shown for verb in ("list", "watch")}
    assert _granted(one(render(), "ClusterRole", "-api")) == reads


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}])
def test_rest_asks_about_callers_and_impersonates_nobody(render: Render, values: dict[str, Any]) -> None:
    objects = render(values)
    assert _granted(one(objects, "ClusterRole", "-reviewer")) == {
        ("authentication.k8s.io", "tokenreviews", "create"),
        ("authorization.k8s.io", "subjectaccessreviews", "create"),
    }
    verbs = {
        verb for kind in ("Role", "ClusterRole") for role in all_of(objects, kind) for _, _, verb in _granted(role)
    }
    assert "impersonate" not in verbs
    off = render({**values, "rest": {"enabled": False}})
    assert not [role for role in all_of(off, "ClusterRole") if role["metadata"]["name"].endswith("-reviewer")]


def test_no_role_of_ours_has_a_wildcard(render: Render) -> None:
    for role in all_of(render(), "ClusterRole") + all_of(render(), "Role"):
        assert "*" not in {part for grant in _granted(role) for part in grant}, role["metadata"]["name"]


def test_outside_of_namespaces_everything_is_read_only(render: Render) -> None:
    role = one(render({"watchNamespaces": ["a"]}), "ClusterRole", "-cluster-reader")
    assert _granted(role) == {
        ("", "nodes", "get"),
        ("", "namespaces", "get"),
        ("apiextensions.k8s.io", "customresourcedefinitions", "get"),
        ("storage.k8s.io", "storageclasses", "get"),
        ("", "nodes", "list"),
        ("", "persistentvolumes", "get"),
    }
    (named,) = [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule]
    assert named == [f"{kind}.{_OURS}" for kind in ("backups", "backupchains", "backuprepositories")]


def test_lease_only_in_the_operators_namespace(render: Render) -> None:
    role = one(render(), "Role", "-leader")
    assert role["metadata"]["namespace"] == "ops"
    lease = environment(one(render(), "Deployment", "-controller"))["SENDENSE_LEASE_NAME"]
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert role["rules"] == [
        {**leases, "resourceNames": [lease], "verbs": ["get", "patch"]},
        {**leases, "verbs": ["create"]},
    ]


def test_watch_namespaces_gives_the_same_rights_by_roles_there(render: Render) -> None:
    wide, narrow = render(), render({"watchNamespaces": ["team-a", "team-b"]})
    for program in ("controller", "gateway", "api"):
        expected = one(wide, "ClusterRole", f"-{program}")["rules"]
        roles = [r for r in all_of(narrow, "Role") if r["metadata"]["name"].endswith(f"-{program}")]
        assert [r["metadata"]["namespace"] for r in roles] == ["team-a", "team-b"]
        assert all(r["rules"] == expected for r in roles)
        assert not [r for r in all_of(narrow, "ClusterRole") if r["metadata"]["name"].endswith(f"-{program}")]


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["team-a"]}])
def test_every_binding_leads_to_a_role_and_an_account_that_exist(render: Render, values: dict[str, Any]) -> None:
    objects = render(values)
    known = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects}
    for binding in all_of(objects, "RoleBinding") + all_of(objects, "ClusterRoleBinding"):
        role = binding["roleRef"]
        place = binding["metadata"].get("namespace") if role["kind"] == "Role" else None
        assert (role["kind"], place, role["name"]) in known
        for subject in binding["subjects"]:
            assert ("ServiceAccount", subject["namespace"], subject["name"]) in known


def test_users_roles_are_aggregated(render: Render) -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    for name, targets in (("-view", {"view", "edit", "admin"}), ("-edit", {"edit", "admin"}), ("-admin", {"admin"})):
        labels = one(render(), "ClusterRole", name)["metadata"]["labels"]
        assert {label.removeprefix(prefix) for label in labels if label.startswith(prefix)} == targets
    assert _verbs(one(render(), "ClusterRole", "-view"), _OURS, "backups") == {"get", "list", "watch"}
    assert "delete" not in _verbs(one(render(), "ClusterRole", "-edit"), _OURS, "backuprepositories")
    assert _verbs(one(render(), "ClusterRole", "-edit"), _OURS, "backupchains") == {"patch"}


def test_rbac_can_be_left_to_somebody_else(render: Render) -> None:
    kinds = {item["kind"] for item in render({"rbac": {"create": False}})}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
