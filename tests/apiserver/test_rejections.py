"""Bad input is refused by the API server, with the field's name in the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support import manifests
from tests.support.kube import ApiError, Kube
from tests.support.manifests import put

Builder = Callable[..., dict[str, Any]]

BACKUP, CHAIN = manifests.backup, manifests.backup_chain
POLICY = manifests.backup_policy
REPOSITORY, VM, APPLIANCE = manifests.repository, manifests.protected_vm, manifests.appliance
LONG_NAME = "a" * 64


def labelling(times: int = 1, **rule: Any) -> dict[str, Any]:
    """A discovery with a label rule, which may be there more than once."""
    return {"datacenters": ["DC1"], "labels": [{"name": "rule", "labels": {"tier": "gold"}, **rule}] * times}


def RESTORE(name: str, namespace: str) -> dict[str, Any]:  # noqa: N802 - one of the builders
    """A Restore of one disk into a claim."""
    return manifests.restore(name, namespace, claims={0: "disk-0"})


def FILES(name: str, namespace: str) -> dict[str, Any]:  # noqa: N802 - one of the builders
    """A Restore into an OVA."""
    return manifests.restore(name, namespace, target={"file": {"claimName": "exports", "format": "OVA"}})


def _source(**fields: Any) -> dict[str, Any]:
    return {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}, **fields}


def _machine(**fields: Any) -> dict[str, Any]:
    return {"virtualMachine": {"name": "web", **fields}}


REFUSED: list[tuple[Builder, str, Any]] = [
    (VM, "spec.path", "/DC1/vm/db/"),
    (VM, "spec.path", "/DC1/vm//db"),
    (VM, "spec.path", "/DC1/db"),
    (VM, "spec.path", "/vm/db"),
    (BACKUP, "spec.type", "Differential"),
    (BACKUP, "spec.type", "full"),
    (BACKUP, "spec.type", ""),
    (BACKUP, "spec.onMissingParent", "Skip"),
    (BACKUP, "spec.onMissingParent", "Fail"),
    (BACKUP, "spec.deletionPolicy", "Orphan"),
    (BACKUP, "spec.adopt", {}),
    (BACKUP, "spec.adopt.uid", "../../etc"),
    (BACKUP, "spec.adopt.uid", "0A000000-0000-4000-8000-000000000000"),
    (BACKUP, "spec.vmRef.name", ""),
    (BACKUP, "spec.vmRef.name", LONG_NAME),
    (BACKUP, "spec.vmRef.name", "../etc"),
    (BACKUP, "spec.vmRef", {}),
    (BACKUP, "spec.repositoryRef.name", ""),
    (BACKUP, "spec.repositoryRef.name", "Repo"),
    (BACKUP, "spec.repositoryRef.name", "a.b"),
    (BACKUP, "spec.retries", -1),
    (BACKUP, "spec.retries", 11),
    (BACKUP, "spec.retries", "2"),
    (BACKUP, "spec.startDeadlineSeconds", 0),
    (BACKUP, "spec.startDeadlineSeconds", -5),
    (BACKUP, "spec.activeDeadlineSeconds", 1),
    (BACKUP, "spec.cancel", "yes"),
    (BACKUP, "spec.policyRef", {}),
    (POLICY, "spec.vmRefs", []),
    (POLICY, "spec.vmSelector", {}),
    (POLICY, "spec.vmSelector.matchLabels", {"tier": "not a value"}),
    (POLICY, "spec.vmSelector.matchExpressions", [{"key": "tier", "operator": "In"}]),
    (POLICY, "spec.vmSelector.matchExpressions", [{"key": "tier", "operator": "Exists", "values": ["a"]}]),
    (POLICY, "spec.repositoryRef.name", ""),
    (POLICY, "spec.schedules", [{"name": "a", "cron": "0 1 * *"}]),
    (POLICY, "spec.schedules", [{"name": "a", "cron": "0 1 * * * *"}]),
    (POLICY, "spec.schedules", [{"name": "a", "cron": "0 1 * * *", "timeZone": "../etc/passwd"}]),
    (POLICY, "spec.schedules", [{"name": "a", "cron": "0 1 * * *", "type": "Differential"}]),
    (POLICY, "spec.schedules", [{"name": "a", "cron": "0 1 * * *"}, {"name": "a", "cron": "0 2 * * *"}]),
    (POLICY, "spec.verification", {"level": "Content"}),
    (POLICY, "spec.verification", {"schedule": "daily"}),
    (POLICY, "spec.verification", {"schedule": "0 1 * * *", "level": "Deep"}),
    (POLICY, "spec.verification", {"schedule": "0 1 * * *", "fullCycleDays": 0}),
    (POLICY, "spec.verification", {"schedule": "0 1 * * *", "bytesPerSecond": 1000}),
    (POLICY, "spec.jitterSeconds", 86_401),
    (POLICY, "spec.catchUp", "Always"),
    (POLICY, "spec.startDeadlineSeconds", 0),
    (CHAIN, "spec.vmRef.name", ""),
    (CHAIN, "spec.repositoryRef.name", LONG_NAME),
    (CHAIN, "spec.parentCheck", "None"),
    (CHAIN, "spec.compaction", "Always"),
    (CHAIN, "spec.consolidation.mode", "Always"),
    (CHAIN, "spec.consolidation.targetDepth", 1),
    (CHAIN, "spec.consolidation.targetDepth", 65),
    (CHAIN, "spec.consolidation.bytesPerSecond", 1000),
    (CHAIN, "spec.consolidation.window", {"start": "22:00"}),
    (CHAIN, "spec.consolidation.window", {"start": "22:00", "end": "22:00"}),
    (CHAIN, "spec.consolidation.window", {"start": "22:00", "end": "24:00"}),
    (CHAIN, "spec.consolidation.window", {"start": "10pm", "end": "06:00"}),
    (CHAIN, "spec.consolidation.window", {"start": "22:00", "end": "06:00", "timeZone": "../etc/passwd"}),
    (RESTORE, "spec.source", {}),
    (RESTORE, "spec.source", {"backupRef": {"name": "b1"}, **_source()}),
    (RESTORE, "spec.source", {"vmRef": {"name": "db"}}),
    (RESTORE, "spec.source", {"repositoryRef": {"name": "store"}}),
    (RESTORE, "spec.source", {"backupRef": {"name": "b1"}, "at": "Latest"}),
    (RESTORE, "spec.source", {"backupRef": {"name": "../b1"}}),
    (RESTORE, "spec.source.at", "yesterday"),
    (RESTORE, "spec.source", _source(at="2026-01-31")),
    (RESTORE, "spec.source", _source(at="1999-12-31T00:00:00Z")),
    (RESTORE, "spec.source.disks", [64]),
    (RESTORE, "spec.source.disks", [0, 0]),
    (RESTORE, "spec.source.disks", [1]),
    (RESTORE, "spec.verifyOnly", True),
    (RESTORE, "spec.target", {}),
    (RESTORE, "spec.target.persistentVolumeClaims", []),
    (RESTORE, "spec.target.persistentVolumeClaims", [{"disk": 0}]),
    (RESTORE, "spec.target.persistentVolumeClaims", [{"disk": 0, "claimName": "a/b"}]),
    (RESTORE, "spec.target.persistentVolumeClaims", [{"disk": 0, "claimName": "a"}, {"disk": 0, "claimName": "b"}]),
    (RESTORE, "spec.target.persistentVolumeClaims", [{"disk": 0, "claimName": "a", "create": {"sizeBytes": 0}}]),
    (
        RESTORE,
        "spec.target.persistentVolumeClaims",
        [{"disk": 0, "claimName": "a", "create": {"accessModes": ["ROX"]}}],
    ),
    (RESTORE, "spec.target", {"persistentVolumeClaims": [{"disk": 0, "claimName": "a"}], "nbd": {}}),
    (RESTORE, "spec.target", {"nbd": {}, "virtualMachine": {"name": "web"}}),
    (RESTORE, "spec.target", {"virtualMachine": {}}),
    (RESTORE, "spec.target", _machine(name="Web")),
    (RESTORE, "spec.target", _machine(name=LONG_NAME)),
    (RESTORE, "spec.target", _machine(storageClasses=[{"datastore": "ssd"}])),
    (RESTORE, "spec.target", _machine(storageClasses=[{"datastore": "", "storageClassName": "fast"}])),
    (RESTORE, "spec.target", _machine(storageClasses=[{"datastore": "ssd", "storageClassName": "fast"}] * 2)),
    (RESTORE, "spec.target", _machine(networks=[{"network": "LAN"}])),
    (RESTORE, "spec.target", _machine(networks=[{"network": "LAN", "pod": {}, "multus": "lan"}])),
    (RESTORE, "spec.target", _machine(networks=[{"network": "LAN", "multus": "../lan"}])),
    (RESTORE, "spec.target", _machine(networks=[{"network": "LAN", "pod": {}}] * 2)),
    (RESTORE, "spec.target", _machine(networks=[{"network": "", "pod": {}}])),
    (RESTORE, "spec.target", _machine(defaultNetwork={})),
    (RESTORE, "spec.target", _machine(accessModes=[])),
    (RESTORE, "spec.target", _machine(hardware={"processors": 0})),
    (RESTORE, "spec.target", _machine(hardware={"memoryBytes": 0})),
    (RESTORE, "spec.target", _machine(hardware={"firmware": "UEFI"})),
    (RESTORE, "spec.target", _machine(hardware={"diskBus": "IDE"})),
    (RESTORE, "spec.target", _machine(hardware={"networkCardModel": "rtl8139"})),
    (RESTORE, "spec.target", {"nbd": {}, "file": {"claimName": "a", "format": "Raw"}}),
    (
        RESTORE,
        "spec.target",
        {"persistentVolumeClaims": [{"disk": 0, "claimName": "a"}], "file": {"claimName": "b", "format": "Raw"}},
    ),
    (RESTORE, "spec.target", {"file": {"claimName": "a", "format": "VMDK", "hardware": {}}}),
    (FILES, "spec.target.file", {"format": "OVA"}),
    (FILES, "spec.target.file", {"claimName": "a"}),
    (FILES, "spec.target.file.format", "qcow2"),
    (FILES, "spec.target.file.claimName", "other/exports"),
    (FILES, "spec.target.file.claimName", "../exports"),
    (FILES, "spec.target.file.folder", ""),
    (FILES, "spec.target.file.folder", "/exports"),
    (FILES, "spec.target.file.folder", "a/../b"),
    (FILES, "spec.target.file.folder", "a//b"),
    (FILES, "spec.target.file.folder", "a/"),
    (FILES, "spec.target.file.folder", ".hidden"),
    (FILES, "spec.target.file.folder", "a,file.filename=b"),
    (FILES, "spec.target.file.folder", "a/" * 8 + "a"),
    (FILES, "spec.target.file.folder", "a" * 64),
    (FILES, "spec.target.file.hardware", {"processors": 0}),
    (FILES, "spec.target.file.hardware", {"memoryBytes": 1}),
    (FILES, "spec.target.file.hardware", {"firmware": "UEFI"}),
    (FILES, "spec.target.file.hardware", {"scsiController": "IDE"}),
    (FILES, "spec.target.file.create", {"accessModes": ["ReadOnlyMany"]}),
    (RESTORE, "spec.target", {"nbd": {"ttlSeconds": 1}}),
    (RESTORE, "spec.target", {"nbd": {"tls": "X509"}}),
    (RESTORE, "spec.target", {"nbd": {"allowedFrom": ["everybody"]}}),
    (RESTORE, "spec.retries", 11),
    (REPOSITORY, "spec.maxConcurrentRestores", 0),
    (REPOSITORY, "spec.maxConcurrentConsolidations", 0),
    (REPOSITORY, "spec.claimName", ""),
    (REPOSITORY, "spec.immutability.days", 0),
    (REPOSITORY, "spec.immutability.days", 36_501),
    (REPOSITORY, "spec.immutability", {}),
    (REPOSITORY, "spec.claimName", "Claim"),
    (REPOSITORY, "spec.claimName", "a" * 254),
    (REPOSITORY, "spec.path", "../outside"),
    (REPOSITORY, "spec.path", "a/../../outside"),
    (REPOSITORY, "spec.path", "/absolute"),
    (REPOSITORY, "spec.path", "a//b"),
    (REPOSITORY, "spec.path", "./a"),
    (REPOSITORY, "spec.path", "a/"),
    (REPOSITORY, "spec.path", ".hidden"),
    (REPOSITORY, "spec.path", "a\nb"),
    (REPOSITORY, "spec.path", "json:{}"),
    (REPOSITORY, "spec.path", "a" * 254),
    (REPOSITORY, "spec.minFreeBytes", -1),
    (REPOSITORY, "spec.maxConcurrentBackups", 0),
    (REPOSITORY, "spec.maxConcurrentBackups", 1001),
    (REPOSITORY, "spec.maxConcurrentVerifications", 0),
    (REPOSITORY, "spec.probeIntervalSeconds", 0),
    (REPOSITORY, "spec.scanIntervalSeconds", 9),
    (REPOSITORY, "spec.deletionPolicy", "delete"),
    (REPOSITORY, "spec.maxChainDepth", 0),
    (REPOSITORY, "spec.maxChainDepth", 65),
    (REPOSITORY, "spec.folder", "../shop"),
    (REPOSITORY, "spec.folder", "a/b"),
    (REPOSITORY, "spec.folder", LONG_NAME),
    (REPOSITORY, "spec.podSecurity.runAsUser", 0),
    (REPOSITORY, "spec.podSecurity.fsGroup", -1),
    (REPOSITORY, "spec.podSecurity.supplementalGroups", list(range(1, 18))),
    (REPOSITORY, "spec.podTemplate.labels", {"backup.sendense.io/backup": "x"}),
    (REPOSITORY, "spec.podTemplate.labels", {"app.kubernetes.io/component": "gateway"}),
    (REPOSITORY, "spec.podTemplate.labels", {"job-name": "x"}),
    (REPOSITORY, "spec.podTemplate.labels", {"a b": "x"}),
    (REPOSITORY, "spec.podTemplate.labels", {LONG_NAME: "x"}),
    (REPOSITORY, "spec.podTemplate.labels", {"a": "x y"}),
    (REPOSITORY, "spec.podTemplate.labels", {f"key-{index}": "" for index in range(33)}),
    (REPOSITORY, "spec.podTemplate.annotations", {"backup.sendense.io/task": "{}"}),
    (
        REPOSITORY,
        "spec.podTemplate.annotations",
        {"container.apparmor.security.beta.kubernetes.io/worker": "unconfined"},
    ),
    (REPOSITORY, "spec.podTemplate.nodeSelector", {"disk/": "ssd"}),
    (REPOSITORY, "spec.podTemplate.tolerations", [{"key": "a", "operator": "Exists", "value": "b"}]),
    (REPOSITORY, "spec.podTemplate.tolerations", [{"value": "b"}]),
    (REPOSITORY, "spec.podTemplate.tolerations", [{"key": "a", "tolerationSeconds": 5}]),
    (REPOSITORY, "spec.podTemplate.tolerations", [{"key": "a", "effect": "Never"}]),
    (
        REPOSITORY,
        "spec.podTemplate.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
        [{"matchExpressions": [{"key": "disk", "operator": "In"}]}],
    ),
    (REPOSITORY, "spec.podTemplate.priorityClassName", "Low_"),
    (REPOSITORY, "spec.podTemplate.resources.limits", {"memory": "lots"}),
    (REPOSITORY, "spec.podTemplate.resources.limits", {"memory": -1}),
    (REPOSITORY, "spec.podTemplate.resources.requests", {"a b": "1"}),
    (VM, "spec.applianceRef.name", ""),
    (VM, "spec.path", ""),
    (VM, "spec.path", "DC1/vm/pgtest1"),
    (VM, "spec.path", "/" + "x" * 1024),
    (VM, "spec.datacenter", "x" * 1025),
    (VM, "spec.discoveryIntervalSeconds", 1),
    (VM, "spec.uuid", "4210"),
    (APPLIANCE, "spec.url", ""),
    (APPLIANCE, "spec.url", "vma.example:8081"),
    (APPLIANCE, "spec.url", "ftp://vma.example"),
    (APPLIANCE, "spec.url", "http://user:password@vma.example:8081"),
    (APPLIANCE, "spec.url", "http://vma.example:8081/?password=x"),
    (APPLIANCE, "spec.url", "http://vma.example:8081/#x"),
    (APPLIANCE, "spec.url", "http://" + "x" * 512),
    (APPLIANCE, "spec.vcenter.host", ""),
    (APPLIANCE, "spec.vcenter.host", "a b"),
    (APPLIANCE, "spec.vcenter.credentialsSecretRef.name", ""),
    (APPLIANCE, "spec.vcenter.credentialsSecretRef.name", "Ü"),
    (APPLIANCE, "spec.tls", {"caSecretRef": {"name": "ca"}}),
    (APPLIANCE, "spec.nbd.exposure", "LoadBalancer"),
    (APPLIANCE, "spec.nbd.exposure", "nodePort"),
    (APPLIANCE, "spec.nbd.advertisedHost", "a,b"),
    (APPLIANCE, "spec.nbd.portRange", {"first": 10200, "last": 10100}),
    (APPLIANCE, "spec.nbd.portRange.first", 0),
    (APPLIANCE, "spec.nbd.portRange.last", 65536),
    (APPLIANCE, "spec.nbd.allowedFrom", ["everyone"]),
    (APPLIANCE, "spec.nbd.allowedFrom", ["192.0.2.0/99"]),
    (APPLIANCE, "spec.nbd.allowedFrom", ["10.0.0.0/8"] * 33),
    (APPLIANCE, "spec.callbacks.baseURL", "http://user:password@gateway.example"),
    (APPLIANCE, "spec.maxConcurrentBackups", 0),
    (APPLIANCE, "spec.healthIntervalSeconds", 0),
    (APPLIANCE, "spec.discovery.datacenters", []),
    (APPLIANCE, "spec.discovery", {"datacenters": ["DC1", "DC1"]}),
    (APPLIANCE, "spec.discovery", {"datacenters": ["DC1"], "folder": "/DC1/vm/production"}),
    (APPLIANCE, "spec.discovery", {"datacenters": ["DC1"], "folder": "production/"}),
    (APPLIANCE, "spec.discovery", {"datacenters": ["DC1"], "namePatterns": ["production/*"]}),
    (APPLIANCE, "spec.discovery", {"datacenters": ["DC1"], "namePatterns": [""]}),
    (APPLIANCE, "spec.discovery", {"datacenters": ["DC1"], "excludePatterns": ["a\nb"]}),
    (APPLIANCE, "spec.discovery", {"datacenters": ["DC1"], "namePatterns": ["x" * 257]}),
    (APPLIANCE, "spec.discovery", {"datacenters": ["DC1"], "intervalSeconds": 1}),
    (APPLIANCE, "spec.discovery", labelling()),
    (APPLIANCE, "spec.discovery", labelling(folder="", namePatterns=[])),
    (APPLIANCE, "spec.discovery", labelling(folder="/production")),
    (APPLIANCE, "spec.discovery", labelling(namePatterns=["production/*"])),
    (APPLIANCE, "spec.discovery", labelling(folder="production", labels={})),
    (APPLIANCE, "spec.discovery", labelling(folder="production", labels={"a b": "x"})),
    (APPLIANCE, "spec.discovery", labelling(folder="production", labels={LONG_NAME: "x"})),
    (APPLIANCE, "spec.discovery", labelling(folder="production", labels={"a": "x y"})),
    (APPLIANCE, "spec.discovery", labelling(folder="production", labels={f"key-{index}": "" for index in range(17)})),
    (APPLIANCE, "spec.discovery", labelling(folder="production", labels={"backup.sendense.io/discovered-by": "x"})),
    (APPLIANCE, "spec.discovery", labelling(2, folder="production")),
    (APPLIANCE, "spec.traits.zeroWrites", "Maybe"),
    (APPLIANCE, "spec.traits.fullCoverage", ""),
    (APPLIANCE, "spec.traits.changeIDAsks", "Own"),
    (APPLIANCE, "spec.traits.callbackRetries", 3),
    (APPLIANCE, "spec.timeouts.connectSeconds", 0),
    (APPLIANCE, "spec.timeouts.stallSeconds", 86_401),
]


@pytest.mark.parametrize(
    ("build", "field", "value"), REFUSED, ids=[f"{b.__name__}-{f}-{str(v)[:20]!a}" for b, f, v in REFUSED]
)
def test_bad_value_is_refused_by_its_name(
    kube: Kube, shared_namespace: str, build: Builder, field: str, value: Any
) -> None:
    with pytest.raises(ApiError) as refused:
        kube.create(put(build("bad", shared_namespace), field, value))
    assert refused.value.code == 422
    assert field in refused.value.message or field.removeprefix("spec.") in refused.value.message


@pytest.mark.parametrize("build", [BACKUP, CHAIN, REPOSITORY, VM, APPLIANCE, RESTORE])
@pytest.mark.parametrize("name", [LONG_NAME, "dotted.name"])
def test_names_that_could_not_become_a_folder_or_a_label_are_refused(
    kube: Kube, shared_namespace: str, build: Builder, name: str
) -> None:
    with pytest.raises(ApiError, match=r"metadata\.name") as refused:
        kube.create(build(name, shared_namespace))
    assert refused.value.code == 422


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (BACKUP, "spec.vmRef"),
        (BACKUP, "spec.repositoryRef"),
        (CHAIN, "spec.vmRef"),
        (REPOSITORY, "spec.claimName"),
        (VM, "spec.applianceRef"),
        (VM, "spec.path"),
        (APPLIANCE, "spec.url"),
        (APPLIANCE, "spec.vcenter"),
        (RESTORE, "spec.source"),
    ],
)
def test_required_fields_are_named(kube: Kube, shared_namespace: str, build: Builder, field: str) -> None:
    manifest = build("bad", shared_namespace)
    del manifest["spec"][field.removeprefix("spec.")]
    with pytest.raises(ApiError, match=field.replace(".", r"\.") + ": Required value"):
        kube.create(manifest)


@pytest.mark.parametrize("build", [BACKUP, CHAIN, REPOSITORY, VM, APPLIANCE, RESTORE])
def test_a_spec_is_required(kube: Kube, shared_namespace: str, build: Builder) -> None:
    manifest = build("bad", shared_namespace)
    del manifest["spec"]
    with pytest.raises(ApiError, match="spec: Required value"):
        kube.create(manifest)


def test_misspelt_fields_are_refused_where_the_client_asks_for_it(kube: Kube, shared_namespace: str) -> None:
    with pytest.raises(ApiError, match=r"spec\.retry"):
        kube.create(manifests.backup("bad", shared_namespace, retry=1))


IMMUTABLE: list[tuple[Builder, str, Any]] = [
    (BACKUP, "spec.vmRef.name", "other"),
    (BACKUP, "spec.repositoryRef.name", "other"),
    (BACKUP, "spec.type", "Auto"),
    (BACKUP, "spec.onMissingParent", "Fail"),
    (BACKUP, "spec.adopt", {"uid": "0a000000-0000-4000-8000-000000000000"}),
    (BACKUP, "spec.retries", 5),
    (BACKUP, "spec.startDeadlineSeconds", 600),
    (BACKUP, "spec.activeDeadlineSeconds", 600),
    (CHAIN, "spec.vmRef.name", "other"),
    (CHAIN, "spec.repositoryRef.name", "other"),
    (REPOSITORY, "spec.claimName", "other"),
    (REPOSITORY, "spec.path", "other"),
    (REPOSITORY, "spec.folder", "other"),
    (RESTORE, "spec.source.backupRef.name", "other"),
    (RESTORE, "spec.target.persistentVolumeClaims", [{"disk": 0, "claimName": "other"}]),
    (RESTORE, "spec.allowDamaged", True),
    (RESTORE, "spec.retries", 5),
    (RESTORE, "spec.activeDeadlineSeconds", 600),
]


@pytest.mark.parametrize(("build", "field", "value"), IMMUTABLE, ids=[f"{b.__name__}-{f}" for b, f, _ in IMMUTABLE])
def test_what_a_run_depends_on_never_changes(
    kube: Kube, namespace: str, build: Builder, field: str, value: Any
) -> None:
    made = kube.create(build("fixed", namespace))
    with pytest.raises(ApiError) as refused:
        kube.merge(made["kind"], "fixed", namespace, put({}, field, value))
    assert refused.value.code == 422
    name = ".".join(field.split(".")[:2])
    assert f"{name} is immutable" in refused.value.message


def test_a_defaulted_field_cannot_be_changed_by_removing_it(kube: Kube, namespace: str) -> None:
    kube.create(manifests.backup("fixed", namespace, retries=7))
    with pytest.raises(ApiError, match="retries is immutable"):
        kube.merge("Backup", "fixed", namespace, {"spec": {"retries": None}})


def test_cancel_may_be_set_later(kube: Kube, namespace: str) -> None:
    kube.create(manifests.backup("running", namespace))
    assert kube.merge("Backup", "running", namespace, {"spec": {"cancel": True}})["spec"]["cancel"] is True


@pytest.mark.parametrize(
    ("build", "field", "value"),
    [
        (BACKUP, "spec.deletionPolicy", "Retain"),
        (CHAIN, "spec.parentCheck", "Structure"),
        (CHAIN, "spec.compaction", "Auto"),
        (REPOSITORY, "spec.deletionPolicy", "Retain"),
        (REPOSITORY, "spec.maxChainDepth", 7),
        (REPOSITORY, "spec.scanIntervalSeconds", 60),
        (REPOSITORY, "spec.immutability", {"days": 36_500}),
    ],
)
def test_what_may_be_changed_later(kube: Kube, namespace: str, build: Builder, field: str, value: Any) -> None:
    made = kube.create(build("tuned", namespace))
    changed = kube.merge(made["kind"], "tuned", namespace, put({}, field, value))
    assert changed["spec"][field.removeprefix("spec.")] == value


def test_the_days_of_immutability_may_be_fewer_or_none(kube: Kube, namespace: str) -> None:
    """Each restore point keeps its own time."""
    kube.create(manifests.repository("store", namespace, immutability={"days": 30}))
    changed = kube.merge("BackupRepository", "store", namespace, {"spec": {"immutability": {"days": 1}}})
    assert changed["spec"]["immutability"] == {"days": 1}
    assert (
        "immutability"
        not in kube.merge("BackupRepository", "store", namespace, {"spec": {"immutability": None}})["spec"]
    )


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "Incremental", "onMissingParent": "Fail"},
        {"type": "Incremental", "onMissingParent": "Full"},
        {"type": "Auto"},
    ],
)
def test_what_may_be_requested(kube: Kube, shared_namespace: str, spec: dict[str, Any]) -> None:
    name = "-".join(spec.values()).lower()
    assert spec.items() <= kube.create(manifests.backup(name, shared_namespace, **spec))["spec"].items()


@pytest.mark.parametrize("exposure", ["NodePort", "HostPort", None])
def test_exports_at_a_nodes_port_are_not_for_everybody(kube: Kube, shared_namespace: str, exposure: str | None) -> None:
    nbd = {"exposure": exposure} if exposure else {}
    with pytest.raises(ApiError, match=r"spec\.nbd\.allowedFrom must name the networks"):
        kube.create(manifests.appliance("open", shared_namespace, nbd=nbd))
    named = manifests.appliance(f"named-{exposure}".lower(), shared_namespace, nbd={**nbd, "allowedFrom": ["::/0"]})
    kube.create(named)


def test_a_pod_template_may_say_all_that_is_not_reserved(kube: Kube, shared_namespace: str) -> None:
    template = {
        "labels": {"team": "storage", "app.kubernetes.io/part-of": "backups"},
        "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "sidecar.istio.io/inject": "true"},
        "nodeSelector": {"kubernetes.io/arch": "amd64", "disk": ""},
        "tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 5}],
        "priorityClassName": "low",
        "resources": {"requests": {"cpu": 1, "memory": "1e9"}, "limits": {"example.com/device": 2}},
    }
    made = kube.create(manifests.repository("said", shared_namespace, podTemplate=template))["spec"]["podTemplate"]
    assert made["resources"] == template["resources"]
    assert made["labels"] == template["labels"]


def test_what_binds_pods_to_a_node_has_no_rival(kube: Kube, shared_namespace: str) -> None:
    """The scheduler would look for one pod that meets both requirements: nothing would ever start."""
    term = {"topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    with pytest.raises(ApiError, match=r"podAffinity\.requiredDuringScheduling"):
        kube.create(manifests.repository("bad", shared_namespace, podTemplate={"affinity": affinity}))


def test_labels_that_discovery_may_set(kube: Kube, shared_namespace: str) -> None:
    rules = [
        {"name": "databases", "namePatterns": ["db-*"], "labels": {"backup": "gold", "example.com/team": ""}},
        {"name": "rest", "folder": "production", "labels": {"backup": "silver", "app.kubernetes.io/part-of": "shop"}},
    ]
    discovery = {"datacenters": ["DC1"], "labels": rules}
    made = kube.create(manifests.appliance("labelling", shared_namespace, discovery=discovery))
    assert [rule["labels"] for rule in made["spec"]["discovery"]["labels"]] == [rule["labels"] for rule in rules]


def test_the_keys_of_the_operator_are_not_for_discovery(kube: Kube, shared_namespace: str) -> None:
    discovery = labelling(folder="production", labels={"backup.sendense.io/vm": "x"})
    with pytest.raises(ApiError, match=r"labels: keys that begin with backup\.sendense\.io/ are reserved"):
        kube.create(manifests.appliance("bad", shared_namespace, discovery=discovery))


def test_only_an_increment_can_miss_its_parent(kube: Kube, shared_namespace: str) -> None:
    with pytest.raises(ApiError, match=r"spec\.onMissingParent: Fail requires spec\.type Incremental"):
        kube.create(manifests.backup("bad", shared_namespace, type="Auto", onMissingParent="Fail"))
