"""How the appliance reaches the exports: by the pod's address, by a NodePort Service, by ports of the node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import images
from tests.support.kube import Kube
from tests.support.objects import find_condition
from tests.support.vma import MIB, Disk
from tests.support.waiting import holds_for, until, wait_for
from tests.support.workspace import Workspace

TWO = (Disk("pattern", 8 * MIB), Disk("random", 4 * MIB))


def node_addresses(kube: Kube) -> set[str]:
    return {
        address["address"]
        for node in kube.select("Node")
        for address in node["status"]["addresses"]
        if address["type"] == "InternalIP"
    }


def test_by_the_pods_address(space: Workspace) -> None:
    space.ready(*TWO)
    space.backup()
    space.wait_phase("Completed")
    images.assert_identical(space)
    assert [target.split(":")[1] for target in space.vma.targets()] == ["10809", "10810"]
    assert space.kube.select("Service", space.namespace) == []


def test_by_node_ports(space: Workspace) -> None:
    space.ready(*TWO, appliance={"nbd": {"exposure": "NodePort"}})
    space.backup()
    space.wait_phase("Completed")
    images.assert_identical(space)
    hosts, ports = zip(*(target.split(":") for target in space.vma.targets()), strict=True)
    assert set(hosts) <= node_addresses(space.kube)
    assert all(30000 <= int(port) <= 32767 for port in ports)
    wait_for("the ports free again", lambda: _no_services(space))


def _no_services(space: Workspace) -> None:
    services = space.kube.select("Service", space.namespace)
    until(not services, services)


def test_host_ports_are_forbidden_where_pods_are_restricted(space: Workspace) -> None:
    space.ready(*TWO, appliance={"nbd": {"exposure": "HostPort"}})
    space.backup()
    message = space.wait_reason("PodForbidden")
    assert "PodSecurity" in message
    assert "hostPort" in message
    assert space.status()["phase"] == "Pending"
    holds_for("no worker", lambda: _no_jobs(space), seconds=2)
    space.kube.merge("Namespace", space.namespace, None, {"metadata": {"labels": {_LEVEL: "privileged"}}})
    space.wait_phase("Completed")
    images.assert_identical(space)


_LEVEL = "pod-security.kubernetes.io/enforce"


def _no_jobs(space: Workspace) -> None:
    assert space.jobs() == []


@pytest.fixture
def relaxed(space: Workspace) -> Iterator[Workspace]:
    """A workspace whose pods may have ports of the node."""
    space.kube.merge("Namespace", space.namespace, None, {"metadata": {"labels": {_LEVEL: "privileged"}}})
    yield space


def test_by_host_ports_of_a_range(relaxed: Workspace) -> None:
    """Two at once, which need all of it."""
    nbd = {"exposure": "HostPort", "portRange": {"first": 10150, "last": 10153}}
    relaxed.ready(*TWO, appliance={"nbd": nbd})
    relaxed.add_vm("vm2", *TWO)
    relaxed.vma.fault("client", "rate", bytes_per_second=64 * 1024, count=0)
    for name in ("vm", "vm2"):
        relaxed.backup(name, vm=name)
    for job in relaxed.wait_copying_together(2):
        relaxed.vma.command(job, "rate", bytes_per_second=1 << 30)
    for name in ("vm", "vm2"):
        relaxed.wait_phase("Completed", name)
        images.assert_identical(relaxed, name, vm=name)
    hosts, ports = zip(*(target.split(":") for target in relaxed.vma.targets()), strict=True)
    assert set(hosts) <= node_addresses(relaxed.kube)
    assert sorted(ports) == ["10150", "10151", "10152", "10153"]


def test_a_range_that_is_too_small(relaxed: Workspace) -> None:
    nbd = {"exposure": "HostPort", "portRange": {"first": 10160, "last": 10160}}
    relaxed.ready(*TWO, appliance={"nbd": nbd})
    relaxed.wait_ready("repo", "BackupRepository")
    relaxed.backup(startDeadlineSeconds=15)
    message = relaxed.wait_reason({"PortRangeTooSmall", "StartDeadlineExceeded"})
    assert "10160" in message


def test_the_advertised_host_is_reported_to_the_appliance(space: Workspace) -> None:
    """A name that leads nowhere: the appliance still receives it, and the worker says what it could not reach."""
    space.ready(TWO[0], appliance={"nbd": {"exposure": "NodePort", "advertisedHost": "tunnel.invalid"}})
    space.backup()
    failed = find_condition(space.wait_phase("Failed"), "Ready")
    assert "tunnel.invalid:" in failed["message"], "the address and the port that were offered"
    assert {target.split(":")[0] for target in space.vma.targets()} == {"tunnel.invalid"}


def test_pods_of_a_worker_are_restricted(space: Workspace) -> None:
    """And have no way into the API."""
    space.ready(*TWO)
    space.vma.fault("client", "rate", bytes_per_second=64 * 1024)
    space.backup()
    space.wait_copying()
    (pod,) = space.workers()
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert not any("serviceAccountToken" in str(volume) for volume in spec["volumes"])
    assert not any("hostPath" in volume for volume in spec["volumes"])
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert space.kube.get("Namespace", space.namespace)["metadata"]["labels"][_LEVEL] == "restricted"


def test_a_workers_ports_are_open_to_those_who_need_them(space: Workspace) -> None:
    """By the policy's content: not every cluster enforces policies."""
    space.ready(*TWO, appliance={"nbd": {"exposure": "PodIP", "allowedFrom": ["10.0.0.0/8", "fd00::/8"]}})
    space.vma.fault("client", "rate", bytes_per_second=64 * 1024)
    space.backup()
    space.wait_copying()
    (policy,) = space.kube.select("NetworkPolicy", space.namespace)
    (pod,) = space.workers()
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= pod["metadata"]["labels"].items()
    assert "Ingress" in policy["spec"]["policyTypes"]
    exports, status = policy["spec"]["ingress"]
    assert exports["ports"] == [{"protocol": "TCP", "port": 10809, "endPort": 10810}]
    assert [peer["ipBlock"]["cidr"] for peer in exports["from"] if "ipBlock" in peer] == ["10.0.0.0/8", "fd00::/8"]
    assert [port["port"] for port in status["ports"]] == [8080]
    homes = [peer["namespaceSelector"]["matchLabels"] for peer in status["from"]]
    assert homes == [{"kubernetes.io/metadata.name": space.operator}] * 2, "for gateway and controller alone"
    space.delete_and_wait()
    wait_for("the policy gone", lambda: _no_policies(space))


def _no_policies(space: Workspace) -> None:
    policies = space.kube.select("NetworkPolicy", space.namespace)
    until(not policies, policies)
