"""Restores that serve disks over NBD: reachable while they live, and nothing is left of them afterwards."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.support import sample
from tests.support.objects import Obj
from tests.wiring.ending import Ending
from tests.wiring.rig import Rig
from tests.wiring.test_restores import is_over, jobs, phase, protected, ready, restore

from sendense_operator.api.v1alpha1 import conditions
from sendense_operator.cluster import kinds
from sendense_operator.cluster.object_names import tls_secret_name

SERVING = ("True", "Serving")


def serve(rig: Rig, name: str = "r1", **nbd: Any) -> None:
    rig.create(kinds.RESTORE, sample.restore(name, backup="b2", target={"nbd": nbd}))


def network(rig: Rig) -> list[tuple[str, str]]:
    """Return kind and name of what makes pods of Restores reachable."""
    found = [(kind.kind, obj) for kind in (kinds.SERVICE, kinds.NETWORK_POLICY) for obj in rig.world.cluster.all(kind)]
    return [(kind, obj["metadata"]["name"]) for kind, obj in found if "-restore-" in obj["metadata"]["name"]]


def uris(rig: Rig) -> list[str]:
    return [disk["uri"] for disk in restore(rig)["status"]["disks"] if "uri" in disk]


@pytest.mark.parametrize("writes", [None, *range(1, 12)])
async def test_disks_can_be_read_until_the_object_goes(writes: int | None) -> None:
    rig = await protected()
    rig.kill_after(writes)
    serve(rig)
    await rig.run(lambda: ready(rig) == SERVING)
    await rig.settle(seconds=120)
    assert (phase(rig), ready(rig)) == ("Running", SERVING)
    (uri,) = uris(rig)
    assert uri.endswith(".shop.svc:10809/disk-0")
    assert [kind for kind, _ in network(rig)] == ["Service", "NetworkPolicy"]
    assert len(jobs(rig)) == 1
    found = restore(rig)["status"]["conditions"]
    assert not conditions.is_true(found, conditions.RECONCILING), "for kstatus it is as it should be"
    rig.world.cluster.begin_deletion(kinds.RESTORE, restore(rig))
    await rig.run(lambda: not rig.world.cluster.all(kinds.RESTORE))
    await rig.settle(seconds=30)
    assert network(rig) == []
    assert not [job for job in rig.world.cluster.all(kinds.JOB) if "-restore-" in job["metadata"]["name"]]


async def test_who_may_connect() -> None:
    rig = await protected()
    serve(rig, allowedFrom=["192.0.2.0/24"])
    await rig.run(lambda: ready(rig) == SERVING)
    (policy,) = [p for p in rig.world.cluster.all(kinds.NETWORK_POLICY) if "-restore-" in p["metadata"]["name"]]
    exports, status = policy["spec"]["ingress"]
    assert exports["from"] == [{"podSelector": {}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}]
    assert [port["port"] for port in exports["ports"]] == [10809]
    assert [port["port"] for port in status["ports"]] == [8080]
    (service,) = rig.world.cluster.all(kinds.SERVICE)
    pods = [pod for pod in rig.world.cluster.all(kinds.POD) if "-restore-" in pod["metadata"]["name"]]
    assert [_selects(service["spec"]["selector"], pod) for pod in pods] == [True]
    assert [_selects(policy["spec"]["podSelector"]["matchLabels"], pod) for pod in pods] == [True]


def _selects(labels: Obj, pod: Obj) -> bool:
    return bool(labels.items() <= pod["metadata"]["labels"].items())


async def test_it_ends_by_itself() -> None:
    rig = await protected()
    serve(rig, ttlSeconds=60)
    await rig.run(lambda: ready(rig) == SERVING)
    await is_over(rig)
    assert (phase(rig), ready(rig)) == ("Completed", ("True", "Served"))
    assert (network(rig), uris(rig)) == ([], [])


async def test_cancelled() -> None:
    rig = await protected()
    serve(rig)
    await rig.run(lambda: ready(rig) == SERVING)
    rig.edit(kinds.RESTORE, "r1", cancel=True)
    await is_over(rig)
    assert (phase(rig), network(rig), uris(rig)) == ("Cancelled", [], [])


async def test_another_pod_serves_at_the_same_address() -> None:
    rig = await protected()
    rig.world.restores.endings["r1"] = [Ending.EVICTED]
    serve(rig)
    await rig.run(lambda: ready(rig) == SERVING)
    before = uris(rig)
    await rig.run(lambda: ready(rig)[1] == "Retrying")
    await rig.run(lambda: ready(rig) == SERVING)
    assert uris(rig) == before
    assert restore(rig)["status"]["attempts"] == 2


@pytest.mark.parametrize("writes", [None, *range(1, 13)])
async def test_with_tls_there_is_one_key(writes: int | None) -> None:
    rig = await protected()
    rig.world.cluster.kill_after = writes
    serve(rig, tls="PSK")
    await rig.run(lambda: ready(rig) == SERVING)
    (secret,) = keys_of(rig)
    user, key = base64.b64decode(secret["data"]["keys.psk"]).decode().strip().split(":")
    assert (user, len(bytes.fromhex(key)), secret["immutable"]) == ("qemu", 32, True)
    (owner,) = secret["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Restore", restore(rig)["metadata"]["uid"])
    (uri,) = uris(rig)
    assert uri.startswith("nbds://qemu@") and uri.endswith(".shop.svc:10809/disk-0")
    assert restore(rig)["status"]["tlsSecret"] == secret["metadata"]["name"]
    (pod,) = [pod for pod in rig.world.cluster.all(kinds.POD) if "-restore-" in pod["metadata"]["name"]]
    (volume,) = [volume["secret"] for volume in pod["spec"]["volumes"] if "secret" in volume]
    assert volume["secretName"] == secret["metadata"]["name"]
    assert rig.world.restores.tasks[-1].serve_tls
    for kind in (kinds.RESTORE, kinds.JOB, kinds.POD, kinds.EVENT, kinds.SERVICE, kinds.NETWORK_POLICY):
        assert key not in json.dumps(rig.world.cluster.all(kind)), kind


def keys_of(rig: Rig) -> list[Obj]:
    return [secret for secret in rig.world.cluster.all(kinds.SECRET) if "-tls-" in secret["metadata"]["name"]]


async def test_a_key_that_somebody_else_made_is_not_used() -> None:
    rig = await protected()
    serve(rig, tls="PSK")
    meta = restore(rig)["metadata"]
    name = tls_secret_name(meta["name"], meta["uid"])
    planted = {"metadata": sample.metadata("Secret", name), "data": {"keys.psk": ""}}
    rig.create(kinds.SECRET, planted)
    await rig.run(lambda: ready(rig)[1] == "SecretNameTaken")
    assert (jobs(rig), network(rig)) == ([], [])
    rig.world.cluster.remove(kinds.SECRET, rig.world.cluster.one(kinds.SECRET, name))
    await rig.run(lambda: ready(rig) == SERVING)


async def test_without_tls_there_is_no_key() -> None:
    rig = await protected()
    serve(rig)
    await rig.run(lambda: ready(rig) == SERVING)
    assert keys_of(rig) == []
    assert "tlsSecret" not in restore(rig)["status"]


async def test_an_export_takes_no_slot() -> None:
    rig = await protected(maxConcurrentRestores=1)
    serve(rig)
    await rig.run(lambda: ready(rig) == SERVING)
    rig.create(kinds.RESTORE, sample.restore("r2", claim="target"))
    await is_over(rig, "r2")
    assert phase(rig, "r2") == "Completed"
    serve(rig, "r3")
    await rig.run(lambda: ready(rig, "r3") == SERVING)
