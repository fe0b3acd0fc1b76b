"""Settings of a VMwareAppliance's discovery, and its status."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from sendense_operator.api.v1alpha1.base import (
    Count,
    Message,
    Model,
    ObjectName,
    Text,
    keyed_by,
    rules,
)
from sendense_operator.api.v1alpha1.labels import LabelValue, check_keys, key_syntax, not_prefixed
from sendense_operator.api.v1alpha1.names import GROUP

MAX_DATACENTERS = 32
MAX_PATTERNS = 64
MAX_PLANNED = 50
MAX_LABEL_RULES = 32
MAX_RULE_PATTERNS = 16
MAX_RULE_LABELS = 16
RESERVED_PREFIXES = (f"{GROUP}/",)
"""Prefixes of the label keys that the operator itself uses."""

NamePattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        json_schema_extra=rules(
            (
                "!self.contains('/')",
                "a pattern is held against the VM's name alone: name the folder in the field folder",
            )
        ),
    ),
]
"""`*` stands for any text, `?` for one character, everything else for itself; case does not matter."""

_SET = {"x-kubernetes-list-type": "set"}

FolderPath = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=rules(
            (
                "!self.startsWith('/') && !self.endsWith('/') && !self.contains('//')",
                "a folder is relative to the datacenters' VM folder, such as production/databases",
            )
        ),
    ),
]


class LabelRule(Model):
    """Labels for the ProtectedVMs of the VMs in a folder, with certain names, or both."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "(has(self.folder) && self.folder != '') || (has(self.namePatterns) && size(self.namePatterns) > 0)",
                "a label rule chooses VMs by folder, namePatterns or both",
            ),
        )
    )

    name: ObjectName
    """Name of the rule within the appliance."""
    folder: FolderPath = ""
    """VMs in this folder and below it, such as production/databases; empty: in all folders."""
    name_patterns: Annotated[list[NamePattern], Field(max_length=MAX_RULE_PATTERNS, json_schema_extra=_SET)] = []
    """VMs whose name fits one of these, such as db-*; `*` is any text, `?` one character, case does not matter; none:
    with any name. If folder is given as well, both must fit."""
    labels: Annotated[
        dict[str, LabelValue],
        Field(
            min_length=1,
            max_length=MAX_RULE_LABELS,
            json_schema_extra=rules(key_syntax("labels"), not_prefixed("labels", RESERVED_PREFIXES)),
        ),
        AfterValidator(check_keys),
    ]
    """Labels that the ProtectedVMs of these VMs get."""


class DiscoverySpec(Model):
    """Which of vCenter's VMs get a ProtectedVM, and its labels. Folder and name must both fit if both are given."""

    datacenters: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]],
        Field(min_length=1, max_length=MAX_DATACENTERS, json_schema_extra=_SET),
    ]
    """Names of the datacenters to look in; each is one question to vCenter an interval."""
    folder: FolderPath = ""
    """Only VMs in this folder and below it, such as production/databases; empty: all."""
    name_patterns: Annotated[list[NamePattern], Field(max_length=MAX_PATTERNS, json_schema_extra=_SET)] = []
    """Only VMs whose name fits one of these, such as db-*; `*` is any text, `?` one character, case does not matter;
    none: all."""
    exclude_patterns: Annotated[list[NamePattern], Field(max_length=MAX_PATTERNS, json_schema_extra=_SET)] = []
    """But none whose name fits one of these."""
    labels: Annotated[list[LabelRule], Field(max_length=MAX_LABEL_RULES, json_schema_extra=keyed_by("name"))] = []
    """Labels of the ProtectedVMs that discovery creates, such as for the vmSelector of policies. Of two rules that set
    the same key, the first one counts. The labels follow when a VM is moved or renamed and when the rules change. A
    label that somebody else set is neither changed nor removed. A label that discovery set always follows the rules:
    to give it another value, change them."""
    dry_run: bool = False
    """Make and change no ProtectedVM; status.discovery says what would be made."""
    interval_seconds: Annotated[int, Field(ge=10, le=86_400)] = 3600
    """How often the VMs of vCenter are listed."""


class PlannedVM(Model):
    """A ProtectedVM that would be made."""

    name: ObjectName
    """Name that the object would get."""
    path: Text
    """Inventory path of the VM."""


class DiscoveryStatus(Model):
    """What the last discovery found. Objects are counted in the appliance's namespace."""

    last_time: datetime | None = None
    """When vCenter was last asked."""
    vms: Count = 0
    """VMs that it has in the datacenters."""
    matched: Count = 0
    """How many of them the rules ask for."""
    created: Count = 0
    """ProtectedVMs that the last discovery made."""
    updated: Count = 0
    """ProtectedVMs that it changed: spec.path, because the VM was renamed or moved, the labels, or both."""
    pending: Count = 0
    """Matching VMs without a ProtectedVM: they are made a few at a time, and none in a dry run."""
    vanished: Count = 0
    """ProtectedVMs of this appliance whose VMs are no longer in vCenter. They are kept."""
    unusable: Count = 0
    """VMs whose ProtectedVM can't be made or changed; the message says why."""
    planned: Annotated[
        list[PlannedVM],
        Field(
            max_length=MAX_PLANNED,
            json_schema_extra=keyed_by("name"),
        ),
    ] = []
    """In a dry run: the first of the pending ones."""
    message: Message = ""
    """The same in words, and what went wrong."""
