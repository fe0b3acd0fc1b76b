"""Brings the cluster up once for all test processes, and says what to do when that fails."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest
from tests.support import chart, programs, vma
from tests.support.kube import CHECKOUT, GROUP, KUBECONFIG, OUR_KINDS, ApiError, Kube, path_of
from tests.support.waiting import NotYet, until, wait_for

REFERENCE_VMA: Final = "sendense-reference-vma"
_CRD: Final = "CustomResourceDefinition"
DEFINITIONS: Final = tuple(f"{path_of(kind).rpartition('/')[2]}.{GROUP}" for kind in OUR_KINDS)


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """A lock between the processes of all test runs of this checkout."""
    folder = CHECKOUT / "build"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make(*targets: str) -> None:
    """Run make targets; raises AssertionError with the end of their output."""
    done = subprocess.run(
        ["make", *targets], cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"make {' '.join(targets)} failed:\n{done.stdout[-4000:]}"


def once(run: Path, name: str, do: Callable[[], None]) -> None:
    """Do it, unless another process of this test run has; when that failed, fail at once with the same words.

    `run` is a test process's base folder; xdist makes one for each worker below the run's own.
    """
    shared = run.parent if run.name.startswith("popen-") else run
    mark = shared / f"{name}.done"
    with one_at_a_time("tests-setup"):
        if not mark.exists():
            try:
                do()
            except Exception as error:
                mark.write_text(str(error), encoding="utf-8")
                raise
            mark.touch()
    if words := mark.read_text(encoding="utf-8"):
        pytest.exit(f"{name}: {words}", returncode=1)


def ensure_cluster(run: Path) -> None:
    """The cluster answers; brought up when it does not."""
    once(run, "cluster", lambda: None if _answers(KUBECONFIG) else make("up"))


def _answers(kubeconfig: Path) -> bool:
    if not kubeconfig.exists():
        return False
    try:
        Kube.connect(kubeconfig).request("GET", "readyz", timeout=5)
    except (httpx.HTTPError, ApiError):
        return False
    return True


def ensure_definitions(kube: Kube, run: Path) -> None:
    """The CRDs are in the cluster and served; the chart brings them when they are missing."""

    def install() -> None:
        if any(kube.find(_CRD, name) is None for name in DEFINITIONS):
            make("install")

    once(run, "definitions", install)
    for name in DEFINITIONS:
        wait_for(f"{name} served", partial(_established, kube, name))


def _as_it_is() -> bool:
    return os.environ.get("SENDENSE_TESTS_INSTALLED") == "1"


def ensure_operator(run: Path) -> None:
    """This checkout's images are loaded, the chart is installed by Helm, and all of it is ready.

    With SENDENSE_TESTS_INSTALLED=1 what is installed is taken as it is.
    """
    if not _as_it_is():
        once(run, "operator", lambda: make("install"))


def _established(kube: Kube, name: str) -> None:
    conditions = kube.get(_CRD, name).get("status", {}).get("conditions", [])
    until(any(c["type"] == "Established" and c["status"] == "True" for c in conditions), conditions)


def ensure_reference_vma(kube: Kube, run: Path) -> None:
    """The reference VMA of this checkout runs in the cluster and answers."""
    # Always: one that a demo left behind may be of an older state of the checkout.
    once(run, "reference-vma", _deploy_vma)
    wait_for("the reference VMA", partial(_vma_answers, kube), timeout=30)


def _deploy_vma() -> None:
    manifest = (CHECKOUT / "hack" / "reference-vma" / "deploy.yaml").read_text(encoding="utf-8")
    image = image_name(REFERENCE_VMA)
    programs.kubectl("apply", "-f", "-", stdin=re.sub(rf"{REFERENCE_VMA}:\S+", image, manifest))
    programs.kubectl("rollout", "status", "deployment/reference-vma", "-n", vma.NAMESPACE, "--timeout=120s")


def image_name(repository: str) -> str:
    """Return the name with tag of one of this checkout's images; `make install` put it into the cluster."""
    names = programs.run(str(CHECKOUT / "hack" / "cluster"), "images").split()
    return next(name for name in names if name.startswith(f"{repository}:"))


def _vma_answers(kube: Kube) -> None:
    try:
        vma.ThroughCluster(kube).request("GET", "api/v1/health")
    except (ApiError, httpx.HTTPError) as error:
        raise NotYet(str(error)) from error


def gateway_service_name(kube: Kube) -> str:
    """Return the name of the chart's Service of the gateway."""
    return str(chart.only(kube, "Service", "gateway")["metadata"]["name"])


def gateway_service(kube: Kube, operator: str) -> str:
    """NAME:PORT, as the API server's proxy wants it."""
    name = gateway_service_name(kube)
    return f"{name}:{kube.get('Service', name, operator)['spec']['ports'][0]['port']}"


def callback_url(kube: Kube, namespace: str, appliance: str) -> str:
    """Return what a user sets as the control-plane URL on the appliance: as soon as the object's status shows it."""

    def probe() -> str:
        status = kube.get("VMwareAppliance", appliance, namespace).get("status") or {}
        url = str(status.get("callbackURL") or "")
        until(url != "", status)
        return url

    return wait_for("the callback URL", probe, timeout=60)
