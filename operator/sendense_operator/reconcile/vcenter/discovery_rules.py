"""Which VMs discovery chooses, and which labels its rules give them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence

from sendense_operator.api.v1alpha1.discovery import DiscoverySpec, LabelRule
from sendense_operator.reconcile.state.inventory_path import below_datacenter
from sendense_operator.vma.messages import InventoryVM

Rule = Callable[[InventoryVM], bool]
Labeler = Callable[[InventoryVM], dict[str, str]]


def build_rule(spec: DiscoverySpec) -> Rule:
    """Return whether a VM is asked for: in the folder, its name fits a pattern, and none of the excluding ones."""
    wanted, excluded = _build_choice(spec.folder, spec.name_patterns), _patterns(spec.exclude_patterns)
    return lambda vm: wanted(vm) and not (excluded is not None and excluded(vm.name))


def build_labeler(rules: Sequence[LabelRule]) -> Labeler:
    """Return a function to the labels of a VM by all rules that fit it; of two with the same key, the first counts."""
    choices = [(_build_choice(rule.folder, rule.name_patterns), rule.labels) for rule in reversed(rules)]

    def labeler(vm: InventoryVM) -> dict[str, str]:
        return {key: value for holds, labels in choices if holds(vm) for key, value in labels.items()}

    return labeler


def no_labels(_: InventoryVM) -> dict[str, str]:
    """Return no labels, as without rules."""
    return {}


def _build_choice(folder: str, patterns: Sequence[str]) -> Rule:
    """Return whether a VM is in or below the folder, if one is given, and its name fits a pattern, if there is one."""
    fits = _patterns(patterns)

    def choice(vm: InventoryVM) -> bool:
        if folder and not below_datacenter(vm.path).startswith(f"{folder}/"):
            return False
        return fits is None or fits(vm.name)

    return choice


def _patterns(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Return whether a name fits one of them; None without any."""
    if not patterns:
        return None
    # `[` opens a class in fnmatch, which VMware names may hold: only `*` and `?` are special here.
    compiled = [re.compile(fnmatch.translate(pattern.replace("[", "[[]")), re.IGNORECASE) for pattern in patterns]
    return lambda name: any(one.match(name) for one in compiled)
