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
            "values: In and NotIn need some, Gt and Lt one, Exists and DoesNotExist none",
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
                "tolerationSeconds is for effect NoExecute",
            ),
        )
    )

    key: Annotated[str, Field(max_length=MAX_KEY, pattern=f"^$|{KEY_PATTERN}")] = ""
    """Key of the taint; empty, with operator Exists: all."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """How value is compared."""
    value: LabelValue = ""
    """Value of the taint."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Effect of the taint; empty: all."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """How long a taint with the effect NoExecute is tolerated; absent: always."""


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
    """Requirements that a node meets together (core/v1 NodeSelectorTerm)."""

    match_expressions: Annotated[list[NodeRequirement], _EXPRESSIONS]
    """Requirements, all of which count."""


class NodeSelector(Model):
    """Terms of which a node meets one (core/v1 NodeSelector)."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(min_length=1), _TERMS]
    """Terms, one of which is enough."""


class PreferredNodes(Model):
    """Nodes that are preferred (core/v1 PreferredSchedulingTerm)."""

    weight: _Weight
    """How much this counts."""
    preference: NodeSelectorTerm
    """The nodes."""


class NodeAffinity(Model):
    """Which nodes the pods may have (core/v1 NodeAffinity)."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Nodes that are possible at all."""
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
    """Objects by their labels (meta/v1 LabelSelector)."""

    match_labels: Annotated[Labels, Field(json_schema_extra=rules(key_syntax("matchLabels")))] = {}
    """Labels that an object has."""
    match_expressions: Annotated[list[LabelRequirement], _EXPRESSIONS] = []
    """Requirements, all of which count."""


class PodTerm(Model):
    """Pods beside which, or apart from which, the pods run (core/v1 PodAffinityTerm)."""

    label_selector: LabelSelector | None = None
    """The pods; absent: none."""
    topology_key: LabelKey
    """Label of nodes that says what a place is, such as kubernetes.io/hostname."""
    namespaces: Annotated[list[ObjectName], Field(max_length=_MAX_EXPRESSIONS, json_schema_extra=_ATOMIC)] = []
    """Namespaces of the pods; none, and no namespaceSelector: the repository's own."""
    namespace_selector: LabelSelector | None = None
    """Namespaces of the pods, by label; empty: all."""


class PreferredPods(Model):
    """Pods beside which, or apart from which, it is better to be (core/v1 WeightedPodAffinityTerm)."""

    weight: _Weight
    """How much this counts."""
    pod_affinity_term: PodTerm
    """The pods."""


class PodAffinity(Model):
    """Beside which pods they run (core/v1 PodAffinity, without requirements).

    The scheduler would look for one pod that meets those and the operator's own, by which all pods that share a volume
    of one node get there.
    """

    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredPods], _TERMS] = []
    """Places that are preferred."""


class PodAntiAffinity(Model):
    """Apart from which pods they run (core/v1 PodAntiAffinity)."""

    required_during_scheduling_ignored_during_execution: Annotated[list[PodTerm], _TERMS] = []
    """Places that are impossible."""
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredPods], _TERMS] = []
    """Places that are avoided."""


class Affinity(Model):
    """Where the pods run (core/v1 Affinity)."""

    node_affinity: NodeAffinity | None = None
    """Which nodes they may have."""
    pod_affinity: PodAffinity | None = None
    """Beside which pods they run. Requirements are not offered: the operator has its own for volumes of one node."""
    pod_anti_affinity: PodAntiAffinity | None = None
    """Apart from which pods they run."""
