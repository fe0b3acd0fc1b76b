"""Settings of a worker: fixed paths in the pod, and addresses from the downward API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sendense_operator import task
from sendense_operator.api.v1alpha1.names import NBD_BASE_PORT, STATUS_PORT
from sendense_operator.logs import LogFormat
from sendense_operator.restore_task import TARGETS_DIR, TLS_DIR

MEMORY_LIMIT_FILES: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with the container's memory limit, for cgroups of version 2 and of version 1."""


@dataclass(frozen=True)
class Settings:
    """Settings of one worker."""

    pod_uid: str
    pod_ip: str
    node_ip: str
    task_file: Path = Path(task.TASK_FILE)
    credentials_dir: Path = Path(task.CREDENTIALS_DIR)
    ca_bundle: Path = Path(task.CA_BUNDLE_FILE)
    repository: Path = Path(task.REPOSITORY_DIR)
    targets: Path = Path(TARGETS_DIR)
    tls_dir: Path = Path(TLS_DIR)
    termination_file: Path = Path(task.TERMINATION_FILE)
    memory_limits: tuple[Path, ...] = MEMORY_LIMIT_FILES
    status_port: int = STATUS_PORT
    nbd_base_port: int = NBD_BASE_PORT
    lock_wait: float = 30.0
    """Seconds to wait for the chain's lock, which maintenance holds for a short time."""
    mark_wait: float = 1800.0
    """Seconds that a verification waits at its end for the chain's lock, which a backup may hold, to mark damage."""
    pin_wait: float = 60.0
    """Seconds that a verification waits while maintenance frees layers."""
    switch_wait: float = 21_600.0
    """Seconds that a merged layer waits until no backup writes the chain, and no other pod reads it."""
    sender_wait: float = 120.0
    """Seconds that a restore waits for the pod that serves its disks, which may be one that replaces another."""
    probe_wait: float = 60.0
    """Seconds within which an export must send its greeting from its advertised address."""
    poll: float = 5.0
    """Seconds between requests for the VMA's progress record."""
    sample: float = 0.5
    """Seconds between samples of connections and free space."""
    log_format: LogFormat | None = None
    """Format of the log; None: text on a terminal, otherwise JSON."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Return the settings of the pod's environment. Raises KeyError with the name of a missing variable."""
        formats: dict[str, LogFormat] = {"json": "json", "text": "text"}
        return cls(
            pod_uid=env["POD_UID"],
            pod_ip=env["POD_IP"],
            node_ip=env.get("NODE_IP", ""),
            # The controller has validated it, and a backup must not fail because of its log format.
            log_format=formats.get(env.get(task.LOG_FORMAT_VARIABLE, "")),
        )

    @property
    def ipv6(self) -> bool:
        """Whether the pod's address is an IPv6 address."""
        return ":" in self.pod_ip
