"""An appliance outside of the cluster: it runs on the host, and reaches workers and gateway by the nodes' ports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
import trustme
from tests.support import host, images, manifests, tlsproxy
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

LEVEL: Final = "pod-security.kubernetes.io/enforce"


@pytest.fixture
def outside(space: Workspace) -> Iterator[Workspace]:
    """A workspace whose appliance runs on the host, and calls back to a port of a node."""
    inside = space.vma
    with host.reference_vma(space.kube) as service:
        with host.node_port(space.kube, space.operator, space.namespace) as base:
            space.vma = host.appliance_on(service, space.namespace)
            space.vma.configure(vcenter_password=space.password)
            space.gateway = base
            yield space
        space.vma = inside


@pytest.mark.parametrize("exposure", ["NodePort", "HostPort"])
def test_a_vm_of_an_appliance_outside(outside: Workspace, exposure: str) -> None:
    if exposure == "HostPort":
        outside.kube.merge("Namespace", outside.namespace, None, {"metadata": {"labels": {LEVEL: "privileged"}}})
    outside.ready(
        Disk("pattern", 16 * MIB),
        Disk("random", 8 * MIB),
        appliance={
            "nbd": {"exposure": exposure, "portRange": {"first": 10170, "last": 10179}},
            "callbacks": {"baseURL": outside.gateway},
        },
    )
    outside.backup()
    outside.wait_phase("Completed")
    images.assert_identical(outside)
    (start,) = outside.vma.starts()
    assert ".svc" not in str(start["body"]["nbd_targets"])
    callback = outside.status("vma", "VMwareAppliance")["callbackURL"]
    assert callback.startswith(f"{outside.gateway}/appliances/{outside.namespace}/vma/")


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def test_a_proxy_adds_tls(outside: Workspace) -> None:
    """Controller and worker trust the authority that the appliance names, and no other."""
    authority = trustme.CA()
    base, _, path = outside.vma.url.partition("/appliance")
    with tlsproxy.in_front_of(base, authority) as proxy:
        outside.kube.create(manifests.secret("vma-ca", outside.namespace, **{"ca.crt": pem(trustme.CA())}))
        outside.ready(
            Disk("random", 8 * MIB),
            appliance={
                "url": f"{proxy.url}/appliance{path}",
                "tls": {"caSecretRef": {"name": "vma-ca", "key": "ca.crt"}},
                "nbd": {"exposure": "NodePort"},
                "callbacks": {"baseURL": outside.gateway},
            },
        )
        outside.backup()
        said = outside.wait_reason("ApplianceUnreachable", "vma", "VMwareAppliance")
        assert "certificate" in said.lower()
        assert proxy.connections == 0
        outside.kube.merge("Secret", "vma-ca", outside.namespace, {"stringData": {"ca.crt": pem(authority)}})
        outside.wait_phase("Completed")
        images.assert_identical(outside)
        assert proxy.connections > 0
        assert outside.vma.starts()
