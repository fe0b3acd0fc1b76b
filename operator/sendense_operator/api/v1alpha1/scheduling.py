"""Where pods may run, as in a pod's spec: tolerations and affinity, bounded."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import Model, ObjectName, rules
from sendense_operator.api.v1alpha1.labels import KEY_PATTERN, MAX_KEY, LabelKey, Labels, LabelValue, key_syntax

_MAX_TERMS: Final = 8
_MAX_EXPRESSIONS: Final = 16
_ATOMIC: Final[dict[str, Any]] = {"x-kubernetes-list-type": "atomic"}
_Values = Annotated[list[LabelValue], Field(max_length=64, json_schema_extra=_ATOMIC)]
_EXPRESSIONS: Final = Field(max_length=_MAX_EXPRESSIONS, json_schema_extra=_ATOMIC)
_TERMS: Final = Field(max_length=_MAX_TERMS, json_schema_extra=_ATOMIC)
_Weight = Annotated[int, Field(ge=1, le=100)]
_FITTING_VALUES: Final = ConfigDict(
    json_schema_extra=rules(
        (
            "self.operator in ['In', 'NotIn'] ? size(self.values) > 0 "
            ": size(self.values) == (self.operator in ['Gt', 'Lt'] ? 1 : 0)",
            "values: In and NotIn need at least one, Gt and Lt exactly one, Exists and DoesNotExist none",
        )
    )
)


class Toleration(Model):
    """A taint that the pods tolerate (core/v1 Toleration)."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.operator != 'Exists' || self.value == ''", "value must be empty when operator is Exists"),
            ("self.key != '' || self.operator == 'Exists'", "operator must be Exists when key is empty"),
            (
                "!has(self.tolerationSeconds) || self.effect == 'NoExecute'",
                "tolerationSeconds requires effect NoExecute",
            ),
        )
    )

    key: Annotated[str, Field(max_length=MAX_KEY, pattern=f"^$|{KEY_PATTERN}")] = ""
    """Key of the taint; empty, with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Equal: the taint must have this value. Exists: any value."""
    value: LabelValue = ""
    """Value of the taint."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Effect of the taint; empty: every effect."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """Seconds for which a taint with the effect NoExecute is tolerated; absent: forever."""


class NodeRequirement(Model):
    """A requirement on a node's label (core/v1 NodeSelectorRequirement)."""

    model_config = _FITTING_VALUES

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How the label relates to values."""
    values: _Values = []
    """Values of the label."""


class NodeSelectorTerm(Model):
    """Requirements on a node's labels (core/v1 NodeSelectorTerm)."""

    match_expressions: Annotated[list[NodeRequirement], _EXPRESSIONS]
    """Requirements, all of which must be met."""


class NodeSelector(Model):
    """Alternative terms, one of which a node must match (core/v1 NodeSelector)."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(min_length=1), _TERMS]
    """Terms, at least one of which must match."""


class PreferredNodes(Model):
    """Nodes that are preferred (core/v1 PreferredSchedulingTerm)."""

    weight: _Weight
    """Weight of this preference."""
    preference: NodeSelectorTerm
    """Nodes that are preferred."""


class NodeAffinity(Model):
    """Nodes that the pods run on (core/v1 NodeAffinity)."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes that the pods may run on."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredNodes], _TERMS] = []
    """Nodes that are preferred."""


class LabelRequirement(Model):
    """A requirement on a label (meta/v1 LabelSelectorRequirement)."""

    model_config = _FITTING_VALUES

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label relates to values."""
    values: _Values = []
    """Values of the label."""


class LabelSelector(Model):
    """Selection of objects by their labels (meta/v1 LabelSelector)."""

    match_labels: Annotated[Labels, Field(json_schema_extra=rules(key_syntax("matchLabels")))] = {}
    """Labels that an object must have."""
    match_expressions: Annotated[list[LabelRequirement], _EXPRESSIONS] = []
    """Requirements, all of which must be met."""


class PodTerm(Model):
    """Pods that an affinity or anti-affinity refers to (core/v1 PodAffinityTerm)."""

    label_selector: LabelSelector | None = None
    """Labels of the pods; absent: no pods."""
    topology_key: LabelKey
    """Node label that defines a topology domain, such as kubernetes.io/hostname."""
    namespaces: Annotated[list[ObjectName], Field(max_length=_MAX_EXPRESSIONS, json_schema_extra=_ATOMIC)] = []
    """Namespaces of the pods; if empty and without namespaceSelector: the repository's namespace."""
    namespace_selector: LabelSelector | None = None
    """Labels of the pods' namespaces; empty: all namespaces."""


class PreferredPods(Model):
    """A preference for the vicinity of other pods, or against it (core/v1 WeightedPodAffinityTerm)."""

    weight: _Weight
    """Weight of this preference."""
    pod_affinity_term: PodTerm
    """The other pods."""


class PodAffinity(Model):
    """Pods that the pods run near to (core/v1 PodAffinity, without requirements).

    Requirements would be merged with the operator's own, which brings all pods that share a single-node volume to that
    node: the scheduler then searches for one pod that meets both.
    """

    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredPods], _TERMS] = []
    """Topology domains that are preferred."""


class PodAntiAffinity(Model):
    """Pods that the pods run apart from (core/v1 PodAntiAffinity)."""

    required_during_scheduling_ignored_during_execution: Annotated[list[PodTerm], _TERMS] = []
    """Topology domains that the pods may not run in."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredPods], _TERMS] = []
    """Topology domains that are avoided if possible."""


class Affinity(Model):
    """Where the pods run (core/v1 Affinity)."""

    node_affinity: NodeAffinity | None = None
    """Nodes that the pods run on."""
    pod_affinity: PodAffinity | None = None
    """Pods that they run near to. Only preferences, because the operator sets a requirement for single-node volumes."""
    pod_anti_affinity: PodAntiAffinity | None = None
    """Pods that they run apart from."""
