"""Settings of the controller, from environment variables that the chart sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, field_validator

from sendense_operator.api.v1alpha1.pod_template import PodTemplate, Resources
from sendense_operator.certificates.subject_names import general_names
from sendense_operator.program_settings import ProgramSettings, TextList
from sendense_operator.reconcile.state.quantity import parse_quantity
from sendense_operator.vma.callback_keys import FOLDER

_Labels = dict[str, str]


class Settings(ProgramSettings):
    """Settings of the controller."""

    worker_image: Annotated[str, Field(min_length=1)]
    """Image of the workers: the one that holds this program."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: TextList = ()
    """Names of Secrets, to be found in the Backups' namespaces."""
    gateway_url: str = ""
    """Base URL of the callbacks for appliances that give none of their own."""
    callback_key_folder: str = FOLDER
    """Folder of the mounted Secret that the base paths of callbacks are derived from."""
    namespaces: TextList = ()
    """Namespaces to serve; none: all."""
    operator_namespace: str = "default"
    """Where controller and gateway run."""
    pod_name: str = ""
    """Identity in the Lease."""
    lease_name: str = "sendense-controller"
    worker_resources: dict[str, Any] = {}
    """`resources` of the worker's container."""
    worker_max_memory: Annotated[str, Field(max_length=40)] = ""
    """Quantity: no worker gets more, however large its VM's disks and deep their layers are. Empty: no such bound."""
    worker_priority_class: str = ""
    worker_pod_template: PodTemplate = PodTemplate()
    """Labels, annotations and placement of the pods that mount a repository, which may add to it."""
    gateway_selector: _Labels = {}
    """Labels of the gateway's pods: they may call workers."""
    gateway_status_host: str = ""
    """Name that has the address of each gateway: there the controller reads what they saw. Empty: not at all."""
    gateway_status_port: Annotated[int, Field(ge=1, le=65535)] = 8084
    controller_selector: _Labels = {}
    """Labels of the controller's pods: they may call workers."""
    network_policies: bool = True
    """Whether each worker gets a NetworkPolicy of its own."""
    certificate_secret: str = ""
    """Secret beside the operator that the REST API's certificate is made in. Empty: none is made."""
    certificate_service: str = "sendense-api"
    """Service that the certificate is for."""
    certificate_names: TextList = ()
    """DNS names and IP addresses that it is good for besides the Service's own."""
    node_lost_seconds: Annotated[float, Field(gt=0)] = 600
    """A worker whose node has not been ready for so long is given up."""
    appliance_patience_seconds: Annotated[float, Field(gt=0)] = 180
    """How long a Backup that could start waits for an appliance that does not answer, before it fails."""
    cancel_seconds: Annotated[float, Field(gt=0, lt=60)] = 50
    """How long to wait for a worker that was requested to stop."""
    termination_grace_seconds: Annotated[int, Field(ge=1)] = 45
    """Given to a worker between TERM and KILL, to cancel the VMA's job and to clean up."""
    poll_seconds: Annotated[float, Field(ge=5)] = 5
    """Between two requests to a running worker, and between two writes of its progress."""
    wait_poll_seconds: Annotated[float, Field(gt=0)] = 15
    """Between two checks of what a Backup waits for, where no event reports it."""
    retry_seconds: Annotated[float, Field(gt=0)] = 5
    """First pause after a failed look at an appliance, a VM or a repository; doubles up to its interval."""
    probe_deadline_seconds: Annotated[int, Field(ge=10)] = 300
    """How long a repository's probe may take, from its creation."""
    scan_deadline_seconds: Annotated[int, Field(ge=10)] = 3600
    """The same of one that also scans a repository that is known to be well, or removes restore points from it."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8081
    queue_workers: Annotated[int, Field(ge=1, le=256)] = 32
    """Reconciles at the same time, and half as many more that ask appliances: most of their time they wait."""

    @property
    def pod_defaults(self) -> PodTemplate:
        """All that the chart says of the pods that mount a repository."""
        template = self.worker_pod_template.model_copy()
        template.resources = Resources.model_validate(self.worker_resources) if self.worker_resources else None
        template.priority_class_name = self.worker_priority_class or None
        return template

    @field_validator("worker_pod_template", mode="wrap")
    @classmethod
    def _known(cls, value: Any, read: ValidatorFunctionWrapHandler) -> PodTemplate:
        """Refuse unknown fields: a resource would only ignore them, here they are a mistake in the chart's values."""
        template: PodTemplate = read(value)
        if isinstance(value, dict):
            known = template.model_dump(mode="json", by_alias=True, exclude_unset=True)
            if (path := _unknown(value, known)) is not None:
                raise ValueError(f"{path} is not a field of a pod template")
            if template.resources is not None or template.priority_class_name is not None:
                raise ValueError("resources and priorityClassName are settings of their own")
        return template

    @field_validator("certificate_names")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        general_names(value)
        return value

    @field_validator("worker_max_memory", "worker_resources")
    @classmethod
    def _memory(cls, value: Any) -> Any:
        """Refuse a wrong quantity at start: else each Backup would fail because of it."""
        limit = (value.get("limits") or {}).get("memory") if isinstance(value, dict) else value
        if limit:
            parse_quantity(limit)
        return value

    @field_validator("worker_resources")
    @classmethod
    def _quantities(cls, value: dict[str, Any]) -> dict[str, Any]:
        Resources.model_validate(value)
        return value


def _unknown(given: Any, known: Any, path: str = "") -> str | None:
    """Return the path of the first field that is given and not known."""
    pairs: Iterable[tuple[str, Any, Any]] = ()
    if isinstance(given, dict):
        lost = next((name for name in given if name not in known), None)
        if lost is not None:
            return f"{path}.{lost}".lstrip(".")
        pairs = ((f"{path}.{name}", value, known[name]) for name, value in given.items())
    elif isinstance(given, list):
        pairs = ((f"{path}[{index}]", *both) for index, both in enumerate(zip(given, known, strict=True)))
    return next((found for where, a, b in pairs if (found := _unknown(a, b, where)) is not None), None)
