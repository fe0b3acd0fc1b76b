"""How a worker is reached, and by whom: its Service and its NetworkPolicy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster.object_names import restore_name, restore_service_name, service_name, worker_name
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.kubernetes_objects import owner_ref
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.restore_task import TLS_USER, digests_export_name, digests_port, restored_export_name


def build_service(backup: Obj, labels: dict[str, str], disks: int) -> Obj:
    """Return a NodePort Service with one port a disk, in the disks' order; the cluster chooses the ports.

    `externalTrafficPolicy: Local`: the worker's node answers without another hop, and the NetworkPolicy sees the
    appliance's own address. Not-ready addresses are published because a worker is reached as soon as it listens.
    """
    return {
        "metadata": _metadata(backup, labels, service_name),
        "spec": {
            "type": "NodePort",
            "externalTrafficPolicy": "Local",
            "publishNotReadyAddresses": True,
            "selector": _selector(backup),
            "ports": _service_ports(range(disks)),
        },
    }


def node_ports(service: Obj) -> tuple[int, ...]:
    """Return the node's ports of a Service made by `build_service`, in the disks' order; none when one is missing."""
    ports = sorted(service["spec"].get("ports") or [], key=lambda port: int(port["port"]))
    chosen = tuple(int(port.get("nodePort") or 0) for port in ports)
    return chosen if all(chosen) else ()


def build_network_policy(
    backup: Obj, labels: dict[str, str], disks: int, allowed_from: Sequence[str], settings: Settings
) -> Obj:
    """Return who may connect to a worker: the appliance to the exports, gateway and controller to the status port."""
    exports: Obj = {
        "ports": [{"protocol": "TCP", "port": names.NBD_BASE_PORT, "endPort": names.NBD_BASE_PORT + disks - 1}]
    }
    if allowed_from:
        # The worker itself too: it tries its advertised address before it tells the appliance.
        itself: Obj = {"podSelector": {"matchLabels": _selector(backup)}}
        exports["from"] = [*({"ipBlock": {"cidr": cidr}} for cidr in allowed_from), itself]
    status = _status_rule(settings, settings.gateway_selector, settings.controller_selector)
    return {
        "metadata": _metadata(backup, labels, worker_name),
        "spec": {
            "podSelector": {"matchLabels": _selector(backup)},
            "policyTypes": ["Ingress"],
            "ingress": [exports, status],
        },
    }


def _status_rule(settings: Settings, *selectors: Mapping[str, str]) -> Obj:
    """Return the rule for the status port: the operator's pods with these labels, anybody where none are known."""
    rule: Obj = {"ports": [{"protocol": "TCP", "port": names.STATUS_PORT}]}
    peers = [labels for labels in selectors if labels]
    if peers:
        rule["from"] = [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.operator_namespace}},
                "podSelector": {"matchLabels": dict(peer)},
            }
            for peer in peers
        ]
    return rule


def build_restore_service(restore: Obj, disks: Sequence[int]) -> Obj:
    """Return the Service of the NBD exports of these disks of a Restore."""
    selector = _restore_selector(restore)
    spec = {"type": "ClusterIP", "selector": selector, "ports": _service_ports(disks)}
    return {"metadata": _metadata(restore, selector, restore_service_name), "spec": spec}


def build_restore_policy(restore: Obj, disks: Sequence[int], allowed_from: Sequence[str], settings: Settings) -> Obj:
    """Return who may connect to the pod of a Restore that serves disks: pods of its namespace and these networks."""
    selector = _restore_selector(restore)
    exports: Obj = {
        "ports": [{"protocol": "TCP", "port": names.NBD_BASE_PORT + index} for index in disks],
        "from": [{"podSelector": {}}, *({"ipBlock": {"cidr": cidr}} for cidr in allowed_from)],
    }
    return {
        "metadata": _metadata(restore, selector, restore_name),
        "spec": {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress"],
            "ingress": [exports, _status_rule(settings, settings.controller_selector)],
        },
    }


def build_sender_service(restore: Obj, disks: Sequence[int]) -> Obj:
    """Return the Service of the exports of these disks, and of their digest lists, for the pod that writes them."""
    service = build_restore_service(restore, disks)
    service["spec"]["ports"] += [
        {"name": digests_export_name(index), "protocol": "TCP", "port": port, "targetPort": port}
        for index in disks
        for port in (digests_port(names.NBD_BASE_PORT, index),)
    ]
    return service


def build_sender_policy(restore: Obj, disks: Sequence[int], settings: Settings) -> Obj:
    """Return who may connect to a sender: the pod of the same Restore that writes, and the controller."""
    policy = build_restore_policy(restore, disks, (), settings)
    exports = policy["spec"]["ingress"][0]
    exports["ports"] += [{"protocol": "TCP", "port": digests_port(names.NBD_BASE_PORT, index)} for index in disks]
    own = {key: value for key, value in _restore_selector(restore).items() if key != names.LABEL_EXPORT}
    exports["from"] = [{"podSelector": {"matchLabels": own}}]
    return policy


def sender_host(restore: Obj) -> str:
    """Return the host of the Service of a Restore's exports, as pods reach it."""
    meta = restore["metadata"]
    return f"{restore_service_name(meta['name'], meta['uid'])}.{meta['namespace']}.svc"


def restored_uri(restore: Obj, index: int, *, tls: bool) -> str:
    """Return the NBD URI of a disk that a Restore serves, as pods reach it; with `tls`, with the key's user."""
    scheme = f"nbds://{TLS_USER}@" if tls else "nbd://"
    return f"{scheme}{sender_host(restore)}:{names.NBD_BASE_PORT + index}/{restored_export_name(index)}"


def _restore_selector(restore: Obj) -> dict[str, str]:
    """Return the labels of a pod that serves disks. One that writes them has not the last of these."""
    return {
        names.LABEL_COMPONENT: names.COMPONENT_RESTORE,
        names.LABEL_RESTORE: restore["metadata"]["name"],
        names.LABEL_EXPORT: "true",
    }


def _selector(backup: Obj) -> dict[str, str]:
    return {
        names.LABEL_COMPONENT: names.COMPONENT_WORKER,
        names.LABEL_BACKUP_UID: backup["metadata"]["uid"],
    }


def _service_ports(disks: Iterable[int]) -> list[Obj]:
    return [
        {
            "name": f"nbd-{index}",
            "protocol": "TCP",
            "port": names.NBD_BASE_PORT + index,
            "targetPort": names.NBD_BASE_PORT + index,
        }
        for index in disks
    ]


def _metadata(owner: Obj, labels: dict[str, str], named: Callable[[str, str], str]) -> Obj:
    meta = owner["metadata"]
    return {
        "namespace": meta["namespace"],
        "name": named(meta["name"], meta["uid"]),
        "labels": labels,
        "ownerReferences": [owner_ref(owner)],
    }
