"""What users add to the pods of workers and probes: the chart's values, a repository's, and what stays ours. Pure.

Of each value the repository's wins over the chart's. What the operator needs itself wins over both: its labels and
annotations, and the term that keeps all pods of a volume on its node, which is one more requirement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sendense_operator.api.v1alpha1.pod_template import PodTemplate, Resources
from sendense_operator.api.v1alpha1.scheduling import Affinity
from sendense_operator.chain.memory_estimate import estimate
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.workload.worker_memory import with_memory

OPT_OUT_LABELS: Final[Mapping[str, str]] = {
    "sidecar.istio.io/inject": "false",
    "kuma.io/sidecar-injection": "disabled",
    "admission.datadoghq.com/enabled": "false",
}
"""Labels by which a pod says to the usual injectors that it wants no container of theirs."""

OPT_OUT_ANNOTATIONS: Final[Mapping[str, str]] = {
    "sidecar.istio.io/inject": "false",
    "linkerd.io/inject": "disabled",
    "kuma.io/sidecar-injection": "disabled",
    "consul.hashicorp.com/connect-inject": "false",
    "vault.hashicorp.com/agent-inject": "false",
    "vault.security.banzaicloud.io/mutate": "skip",
    "dapr.io/enabled": "false",
    "sidecar.opentelemetry.io/inject": "false",
    "instrumentation.opentelemetry.io/inject-python": "false",
    "oneagent.dynatrace.com/inject": "false",
    "dynatrace.com/inject": "false",
}
"""The same for those that read annotations. Older versions of some know only these, newer ones only the labels."""


def merge_overrides(chart: PodTemplate, repository: PodTemplate | None) -> PodTemplate:
    """Both, the repository's values winning; their tolerations together."""
    if repository is None:
        return chart
    added = [toleration for toleration in repository.tolerations if toleration not in chart.tolerations]
    # A copy is not validated: together they may have more entries than each of them.
    merged = chart.model_copy()
    merged.labels = {**chart.labels, **repository.labels}
    merged.annotations = {**chart.annotations, **repository.annotations}
    merged.node_selector = {**chart.node_selector, **repository.node_selector}
    merged.tolerations = [*chart.tolerations, *added]
    merged.affinity = _merge_affinity(chart.affinity, repository.affinity)
    merged.priority_class_name = repository.priority_class_name or chart.priority_class_name
    merged.resources = _merge_resources(chart.resources, repository.resources)
    return merged


def _merge_affinity(chart: Affinity | None, repository: Affinity | None) -> Affinity | None:
    """Part by part: a repository that says on which nodes it is leaves the chart's other wishes alone."""
    if chart is None or repository is None:
        return repository or chart
    return Affinity(
        node_affinity=repository.node_affinity or chart.node_affinity,
        pod_affinity=repository.pod_affinity or chart.pod_affinity,
        pod_anti_affinity=repository.pod_anti_affinity or chart.pod_anti_affinity,
    )


def _merge_resources(chart: Resources | None, repository: Resources | None) -> Resources | None:
    if chart is None or repository is None:
        return repository or chart
    merged = chart.model_copy()
    merged.requests = {**chart.requests, **repository.requests}
    merged.limits = {**chart.limits, **repository.limits}
    return merged


def resources_of(wanted: PodTemplate) -> Obj:
    """`resources` of a container as users want them; what is empty is left out."""
    if wanted.resources is None:
        return {}
    return {name: values for name, values in wanted.resources.to_dict().items() if values}


def maintenance_resources(wanted: PodTemplate) -> Obj:
    """Of a pod that copies no disk: as users want them, but never less memory than the program alone needs."""
    return with_memory(resources_of(wanted), estimate(()))


def metadata(wanted: PodTemplate, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Obj:
    """Of a pod. Users may take an opt-out back; what is ours (`labels`, `annotations`) they can't change."""
    return {
        "labels": {**OPT_OUT_LABELS, **wanted.labels, **labels},
        "annotations": {**OPT_OUT_ANNOTATIONS, **wanted.annotations, **annotations},
    }


def placement(wanted: PodTemplate, *, beside: Obj | None) -> Obj:
    """Return the fields of a pod's spec that say where it runs and how important it is.

    `beside` is our own required term of the pod affinity. The scheduler looks for one pod that meets all such terms,
    so there are none of users.
    """
    spec: Obj = {}
    if wanted.node_selector:
        spec["nodeSelector"] = dict(wanted.node_selector)
    if wanted.tolerations:
        spec["tolerations"] = [_without_empty(toleration.to_dict()) for toleration in wanted.tolerations]
    affinity = wanted.affinity.to_dict() if wanted.affinity is not None else {}
    if beside is not None:
        pods = affinity.get("podAffinity", {})
        affinity["podAffinity"] = {**pods, "requiredDuringSchedulingIgnoredDuringExecution": [beside]}
    if affinity:
        spec["affinity"] = affinity
    if wanted.priority_class_name:
        spec["priorityClassName"] = wanted.priority_class_name
    return spec


def _without_empty(values: Obj) -> Obj:
    return {name: value for name, value in values.items() if value != ""}
