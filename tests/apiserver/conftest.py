"""Fixtures of tests that need nothing but the API server and the CRDs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import namespaces
from tests.support.kube import Kube


@pytest.fixture(scope="module")
def shared_namespace(kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """One namespace a module, for tests that leave nothing in it."""
    with namespaces.temporary(kube, request.module.__name__.rpartition(".")[2]) as name:
        yield name
