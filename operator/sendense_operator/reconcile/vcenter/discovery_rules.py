"""Which VMs the rules of a discovery ask for."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence

from sendense_operator.api.v1alpha1.discovery import DiscoverySpec
from sendense_operator.reconcile.state.inventory_path import below_datacenter
from sendense_operator.vma.messages import InventoryVM

Rule = Callable[[InventoryVM], bool]


def build_rule(spec: DiscoverySpec) -> Rule:
    """Return whether a VM is asked for: in the folder, its name fits a pattern, and none of the excluding ones."""
    wanted, excluded = _patterns(spec.name_patterns), _patterns(spec.exclude_patterns)

    def rule(vm: InventoryVM) -> bool:
        if spec.folder and not below_datacenter(vm.path).startswith(f"{spec.folder}/"):
            return False
        return (wanted is None or wanted(vm.name)) and not (excluded is not None and excluded(vm.name))

    return rule


def _patterns(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """Return whether a name fits one of them; None without any."""
    if not patterns:
        return None
    # `[` opens a class in fnmatch, which VMware names may hold: only `*` and `?` are special here.
    compiled = [re.compile(fnmatch.translate(pattern.replace("[", "[[]")), re.IGNORECASE) for pattern in patterns]
    return lambda name: any(one.match(name) for one in compiled)
