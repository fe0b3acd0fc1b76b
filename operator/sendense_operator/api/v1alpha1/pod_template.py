"""What a repository adds to the pods that mount its claim: metadata, placement, priority and resources."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from sendense_operator.api.v1alpha1.base import Model, SubdomainName, rules
from sendense_operator.api.v1alpha1.labels import MAX_LABELS, Labels, cel_list, check_keys, key_syntax, not_prefixed
from sendense_operator.api.v1alpha1.names import GROUP
from sendense_operator.api.v1alpha1.scheduling import Affinity, Toleration

RESERVED_LABELS: Final = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "controller-uid",
    "job-name",
)
"""The operator's Services and NetworkPolicies select pods by the first three, a Job selects its pods by the others."""
RESERVED_LABEL_PREFIXES: Final = (f"{GROUP}/", "batch.kubernetes.io/")
RESERVED_ANNOTATION_PREFIXES: Final = (
    f"{GROUP}/",
    "kubernetes.io/",
    "container.apparmor.security.beta.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
)
"""Some of these annotations change the security context of a pod, or how the kubelet treats it."""


def _check_labels(values: dict[str, str]) -> dict[str, str]:
    for key in values:
        if key in RESERVED_LABELS or key.startswith(RESERVED_LABEL_PREFIXES):
            raise ValueError(f"label {key!r} is reserved")
    return values


def _check_annotations(values: dict[str, str]) -> dict[str, str]:
    for key in values:
        if key.startswith(RESERVED_ANNOTATION_PREFIXES):
            raise ValueError(f"annotation {key!r} is reserved")
    return values


def _as_text(value: Any) -> Any:
    """Allow a quantity to be written as a number, as in a pod."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    Field(
        max_length=40,
        pattern=r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$",
        json_schema_extra={"x-kubernetes-int-or-string": True, "minimum": 0},
    ),
    BeforeValidator(_as_text),
]
_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}
_Quantities = Annotated[
    dict[str, Quantity],
    Field(max_length=16),
    AfterValidator(check_keys),
]


class Resources(Model):
    """Requests and limits of a container."""

    requests: Annotated[_Quantities, Field(json_schema_extra=rules(key_syntax("requests")))] = {}
    """Guaranteed amount of each resource, such as cpu and memory."""
    limits: Annotated[_Quantities, Field(json_schema_extra=rules(key_syntax("limits")))] = {}
    """Maximum amount of each resource. A memory limit below what a VM's disks need is raised to that."""


class PodTemplate(Model):
    """Metadata, placement, priority and resources of the pods that mount a repository's claim."""

    labels: Annotated[
        Labels,
        AfterValidator(_check_labels),
        Field(
            json_schema_extra=rules(
                key_syntax("labels"),
                not_prefixed("labels", RESERVED_LABEL_PREFIXES),
                (
                    f"self.all(k, !(k in {cel_list(RESERVED_LABELS)}))",
                    f"labels: {', '.join(RESERVED_LABELS)} are reserved",
                ),
            )
        ),
    ] = {}
    """Labels of the pods."""
    annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=2048)]],
        Field(
            max_length=MAX_LABELS,
            json_schema_extra=rules(
                key_syntax("annotations"), not_prefixed("annotations", RESERVED_ANNOTATION_PREFIXES)
            ),
        ),
        AfterValidator(check_keys),
        AfterValidator(_check_annotations),
    ] = {}
    """Annotations of the pods."""
    node_selector: Annotated[Labels, Field(json_schema_extra=rules(key_syntax("nodeSelector")))] = {}
    """Labels that a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=MAX_LABELS, json_schema_extra=_ATOMIC)] = []
    """Taints that the pods tolerate, in addition to those in the chart's values."""
    affinity: Affinity | None = None
    """Where the pods run. Each of its three parts replaces the chart's."""
    priority_class_name: SubdomainName | None = None
    """Name of the pods' PriorityClass."""
    resources: Resources | None = None
    """Requests and limits of the pods' containers; each value replaces the chart's."""
