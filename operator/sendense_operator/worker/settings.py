"""Where a worker finds its things: fixed paths of the pod, addresses from the downward API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sendense_operator import task
from sendense_operator.api.v1alpha1.names import NBD_BASE_PORT, STATUS_PORT
from sendense_operator.logs import LogFormat

MEMORY_LIMIT_FILES: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of a container with cgroups of version 2 or 1."""


@dataclass(frozen=True)
class Settings:
    """One worker's surroundings."""

    pod_uid: str
    pod_ip: str
    node_ip: str
    task_file: Path = Path(task.TASK_FILE)
    credentials_dir: Path = Path(task.CREDENTIALS_DIR)
    ca_bundle: Path = Path(task.CA_BUNDLE_FILE)
    repository: Path = Path(task.REPOSITORY_DIR)
    termination_file: Path = Path(task.TERMINATION_FILE)
    memory_limits: tuple[Path, ...] = MEMORY_LIMIT_FILES
    status_port: int = STATUS_PORT
    nbd_base_port: int = NBD_BASE_PORT
    lock_wait: float = 30.0
    """Seconds to wait for the chain's lock: a repository probe holds it for a moment."""
    probe_wait: float = 60.0
    """Seconds until an export must greet on its advertised address."""
    poll: float = 5.0
    """Seconds between questions to the VMA."""
    sample: float = 0.5
    """Seconds between looks at connections and free space."""
    log_format: LogFormat | None = None
    """None: text on a terminal, else JSON."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """From the pod's environment. Raises KeyError, naming the variable."""
        formats: dict[str, LogFormat] = {"json": "json", "text": "text"}
        return cls(
            pod_uid=env["POD_UID"],
            pod_ip=env["POD_IP"],
            node_ip=env.get("NODE_IP", ""),
            # The controller has checked it, and no backup fails for how its log looks.
            log_format=formats.get(env.get(task.LOG_FORMAT_VARIABLE, "")),
        )

    @property
    def ipv6(self) -> bool:
        """Whether the pod's own address is an IPv6 one."""
        return ":" in self.pod_ip
