"""A Service of a test's own in front of the shared reference VMA, so that the test can shut its appliance off."""

from __future__ import annotations

from typing import Any, Final

from tests.support.kube import Kube
from tests.support.vma import NAMESPACE, PORT, SERVICE, ReferenceVMA

_NAME: Final = "vma-door"
_SERVICE_LABEL: Final = "kubernetes.io/service-name"


class Door:
    """Shut, connections are refused: as of an appliance whose server is down. Its clients go on."""

    def __init__(self, kube: Kube, namespace: str, vma: ReferenceVMA) -> None:
        self._kube, self._namespace = kube, namespace
        self.url = vma.url.replace(f"{SERVICE}.{NAMESPACE}.", f"{_NAME}.{namespace}.")
        self._kube.create(
            {
                "kind": "Service",
                "metadata": {"name": _NAME, "namespace": namespace},
                "spec": {"ports": [{"name": "http", "port": PORT}]},
            }
        )

    def open(self) -> None:
        """The appliance answers."""
        self._set(self._addresses())

    def shut(self) -> None:
        """The appliance does not."""
        self._set([])

    def _addresses(self) -> list[str]:
        slices = self._kube.select("EndpointSlice", NAMESPACE, labels=f"{_SERVICE_LABEL}={SERVICE}")
        return [address for found in slices for end in found["endpoints"] or [] for address in end["addresses"]]

    def _set(self, addresses: list[str]) -> None:
        endpoints: list[dict[str, Any]] = [{"addresses": addresses}] if addresses else []
        self._kube.apply(
            {
                "kind": "EndpointSlice",
                "metadata": {"name": _NAME, "namespace": self._namespace, "labels": {_SERVICE_LABEL: _NAME}},
                "addressType": "IPv4",
                "endpoints": endpoints,
                "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
            }
        )
