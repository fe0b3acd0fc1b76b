"""Standard Kubernetes label selectors."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from sendense_operator.api.v1alpha1.base import Model, rules
from sendense_operator.api.v1alpha1.labels import LabelKey, LabelValue


class SelectorOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Model):
    """One condition on a label."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                "values: required with the operators In and NotIn, not allowed with Exists and DoesNotExist",
            ),
        )
    )

    key: LabelKey
    """Key of the label."""
    operator: SelectorOperator
    """In, NotIn, Exists or DoesNotExist."""
    values: Annotated[list[LabelValue], Field(max_length=64)] = []
    """What In and NotIn compare with."""


class LabelSelector(Model):
    """A standard Kubernetes label selector; all of its conditions have to be met."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.matchLabels) && size(self.matchLabels) > 0) || "
                "(has(self.matchExpressions) && size(self.matchExpressions) > 0)",
                "an empty selector matches nothing here: name a label in matchLabels or matchExpressions",
            ),
        )
    )

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=32)] = {}
    """Labels that a ProtectedVM must have."""
    match_expressions: Annotated[
        list[LabelRequirement], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = []
    """Further conditions on labels."""
