"""Fixtures for all layers: the cluster that is up (or is brought up once), and a namespace for each test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no failure. Where CI is set, hypothesis has a profile of its own that says so too.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if not os.environ.get("CI"):
    settings.load_profile("unhurried")

# Before the import: so that asserts in there show their values.
pytest.register_assert_rewrite("tests.support")

from tests.support import chart, diagnosis, kubevirt, namespaces, points, repositories, setup, vma  # noqa: E402
from tests.support.kube import Kube  # noqa: E402
from tests.support.points import History  # noqa: E402
from tests.support.workspace import Workspace  # noqa: E402

_REPORTS = pytest.StashKey[dict[str, pytest.TestReport]]()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks. `hack/test` runs each in a process of its own: pytest 9.2 hides xdist's groups from it."""
    config.addinivalue_line("markers", "disruptive: disturbs what all tests share; runs after all others, one by one")
    config.addinivalue_line("markers", "processors: needs all processors and nothing of the cluster")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put disruptive tests last, so that one run without -m does them after the others."""
    items.sort(key=lambda item: item.get_closest_marker("disruptive") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep each phase's report where the fixtures find it."""
    report = yield
    item.stash.setdefault(_REPORTS, {})[report.when or ""] = report
    return report


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Kube:
    """The API server of the test cluster, with the resources defined in it."""
    setup.ensure_cluster(tmp_path_factory.getbasetemp())
    connected = Kube.connect()
    setup.ensure_definitions(connected, tmp_path_factory.getbasetemp())
    return connected


@pytest.fixture(scope="session")
def operator(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The namespace in which the chart is installed and ready."""
    setup.ensure_operator(tmp_path_factory.getbasetemp())
    return str(chart.only(kube, "Deployment", "controller")["metadata"]["namespace"])


@pytest.fixture(scope="session")
def virtual_machines(kube: Kube) -> None:
    """VirtualMachines can be created: KubeVirt's own definition is in the cluster."""
    kubevirt.ensure_definition(kube)


@pytest.fixture
def namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own; when the test fails, what is in it is printed."""
    with namespaces.temporary(kube, request.node.name) as name:
        yield name
        reports = request.node.stash.get(_REPORTS, {})
        if any(report.failed for report in reports.values()):
            print(diagnosis.of_namespace(kube, name))


@pytest.fixture(scope="session")
def reference_vma(kube: Kube, operator: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The service whose appliances the tests use."""
    setup.ensure_reference_vma(kube, tmp_path_factory.getbasetemp())


@pytest.fixture
def space(kube: Kube, operator: str, reference_vma: None, namespace: str) -> Iterator[Workspace]:
    """A namespace, an appliance and a password of the test's own."""
    password = f"canary-{secrets.token_hex(8)}"
    appliance = vma.in_cluster(kube, namespace)
    appliance.configure(vcenter_password=password)
    workspace = Workspace(kube, namespace, operator, appliance, password)
    try:
        yield workspace
    finally:
        appliance.remove()
        repositories.remove(kube, workspace.folders.values())


@pytest.fixture
def history(space: Workspace) -> Iterator[History]:
    """Restore points of the workspace's VM `vm` in its repository `repo`, with the sources as they were."""
    with points.history(space) as kept:
        yield kept
