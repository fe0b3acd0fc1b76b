"""An appliance's status: reachable or not, and where it has to call back."""

from __future__ import annotations

import re

import pytest
from tests.support import setup
from tests.support.kube import ApiError
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

SECRET_PART = "0-[a-z2-7]{26}"


def test_the_url_to_configure(space: Workspace) -> None:
    space.add_secret()
    space.add_appliance()
    status = space.wait_ready("vma", "VMwareAppliance")
    service = setup.gateway_service(space.kube, space.operator)
    name, _, port = service.partition(":")
    base = f"http://{name}.{space.operator}.svc:{port}/appliances/{space.namespace}/vma/"
    assert re.fullmatch(re.escape(base) + SECRET_PART, status["callbackURL"])
    assert status["lastContactTime"]


def test_a_base_url_of_its_own(space: Workspace) -> None:
    space.add_secret()
    space.add_appliance(callbacks={"baseURL": "http://tunnel.example:9000/base"})
    status = space.wait_ready("vma", "VMwareAppliance")
    base = f"http://tunnel.example:9000/base/appliances/{space.namespace}/vma/"
    assert re.fullmatch(re.escape(base) + SECRET_PART, status["callbackURL"])


def test_networks_of_callers_are_checked_at_admission(space: Workspace) -> None:
    with pytest.raises(ApiError, match="CIDR notation"):
        space.add_appliance(callbacks={"allowedFrom": ["192.0.2.0/99"]})


def test_an_appliance_that_is_not_there(space: Workspace) -> None:
    space.add_secret()
    space.add_appliance(url="http://nobody.invalid:8081")
    space.wait_reason("ApplianceUnreachable", "vma", "VMwareAppliance")


def test_an_appliance_that_comes_back(space: Workspace) -> None:
    space.vma.fault("health", "error", status=500, count=0)
    space.ready(Disk("pattern", 4 * MIB))
    space.wait_reason({"ApplianceUnreachable", "ApplianceError"}, "vma", "VMwareAppliance")
    space.backup()
    space.wait_reason("ApplianceNotReady")
    space.vma.clear_faults()
    space.wait_ready("vma", "VMwareAppliance")
    space.wait_phase("Completed")


def test_a_secret_without_a_password(space: Workspace) -> None:
    space.kube.create(
        {
            "kind": "Secret",
            "metadata": {"name": "vcenter", "namespace": space.namespace},
            "stringData": {"username": "backup"},
        }
    )
    space.add_appliance()
    assert "password" in space.wait_reason("SecretInvalid", "vma", "VMwareAppliance")


def test_a_corrected_build_is_used_to_its_full(space: Workspace) -> None:
    """Whatever it can be trusted with at once: its zeroes, its requests, and callbacks that it makes again."""
    space.vma.configure(zeroes="exact", asks="own", callbacks="repeated")
    traits = {"zeroWrites": "Trust", "changeIDAsks": "OwnDisk", "callbackRetries": "UntilAnswered"}
    space.ready(Disk("hidden", 12 * MIB), Disk("pattern", 4 * MIB), appliance={"traits": traits})
    space.backup("full")
    assert [disk["type"] for disk in space.wait_phase("Completed", "full")["disks"]] == ["Full"] * 2
    space.vma.write("vm", count=5, size=65536, seed=7)
    space.backup("incremental", type="Incremental")
    assert [disk["type"] for disk in space.wait_phase("Completed", "incremental")["disks"]] == ["Incremental"] * 2
    assert space.vma.events("zero_refused") == []
    asked = [
        entry["path"].rpartition("disk_id=")[2] for entry in space.vma.log(kind="made") if "changeid" in entry["path"]
    ]
    assert asked == ["0", "1", "0", "0", "0", "1", "1", "1"]
