"""KubeVirt's definition of a VirtualMachine in the test cluster. KubeVirt itself is not there: nothing is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
import yaml
from tests.support.kube import ApiError, Kube
from tests.support.objects import Obj
from tests.support.waiting import NotYet, wait_for

_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sendense-backup" / "tools"


def definition() -> Obj:
    """Return the CustomResourceDefinition that `make kubevirt` wrote. Skips without."""
    found = next(iter(sorted(_CACHE.glob("kubevirt-*/virtualmachines.yaml"))), None)
    if found is None:
        text = "KubeVirt's definition is missing: `make kubevirt` fetches it"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    loaded: Obj = yaml.safe_load(found.read_text(encoding="utf-8"))
    return loaded


def ensure_definition(kube: Kube) -> None:
    """The cluster serves VirtualMachines."""
    kube.apply(definition())

    def served() -> None:
        try:
            kube.select("VirtualMachine", "default")
        except ApiError as error:
            raise NotYet(str(error)) from None

    wait_for("VirtualMachines served", served, timeout=60)
