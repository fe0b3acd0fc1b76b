"""Settings of one appliance."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

_SYSTEM_PYTHON: Final = "/usr/bin/python3"
_HIDDEN: Final = frozenset({"vcenter_password"})


@dataclass(frozen=True)
class Settings:
    """What an operator of the appliance would have set; `changeable` fields may change while it runs."""

    disks: Path
    state: Path
    scratch: Path
    control_plane: str = "http://localhost:8082"
    vcenter_user: str = "backup"
    vcenter_password: str = field(default="secret", repr=False)
    snapshot: str = "copy"
    telemetry_seconds: float = 5.0
    request_bytes: int = 4 << 20
    workers: int = 4
    retry_seconds: float = 2.5
    client_python: str = ""
    zeroes: str = "guess"
    """guess: a full judges a block by five samples; exact: it reads all of it."""
    asks: str = "zero"
    """zero: asks for a change id name disk 0, whichever it is for, until the last; own: each names its disk."""
    callbacks: str = "once"
    """once: a callback without a 200 ends the job; repeated: it is made again until it gets one."""

    @property
    def shown(self) -> dict[str, Any]:
        """For an answer: no passwords."""
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self) if item.name not in _HIDDEN}

    def changed(self, changes: dict[str, Any]) -> Settings:
        """With other values. Raises ValueError for an unknown field or a wrong type."""
        for name, value in changes.items():
            if name not in _CHANGEABLE:
                raise ValueError(f"no such setting: {name}")
            if not isinstance(value, _CHANGEABLE[name]) or isinstance(value, bool):
                raise ValueError(f"wrong type of setting: {name}")
        for name, values in _CHOICES.items():
            if name in changes and changes[name] not in values:
                raise ValueError(f"{name} is {' or '.join(values)}")
        return replace(self, **changes)


_CHANGEABLE: Final[dict[str, tuple[type, ...]]] = {
    "control_plane": (str,),
    "vcenter_user": (str,),
    "vcenter_password": (str,),
    "snapshot": (str,),
    "telemetry_seconds": (int, float),
    "request_bytes": (int,),
    "workers": (int,),
    "retry_seconds": (int, float),
    "zeroes": (str,),
    "asks": (str,),
    "callbacks": (str,),
}
_CHOICES: Final = {
    "snapshot": ("copy", "none"),
    "zeroes": ("guess", "exact"),
    "asks": ("zero", "own"),
    "callbacks": ("once", "repeated"),
}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def from_environment(disks: Path, state: Path | None, scratch: Path | None, **others: Any) -> Settings:
    """Return settings with the vCenter account from VCENTER_USER and VCENTER_PASSWORD_FILE. Raises OSError."""
    account: dict[str, Any] = {}
    if "VCENTER_USER" in os.environ:
        account["vcenter_user"] = os.environ["VCENTER_USER"]
    if "VCENTER_PASSWORD_FILE" in os.environ:
        account["vcenter_password"] = Path(os.environ["VCENTER_PASSWORD_FILE"]).read_text().rstrip("\n")
    disks = disks.absolute()
    state, scratch = (state or disks / ".state").absolute(), (scratch or disks / ".scratch").absolute()
    return Settings(disks, state, scratch, **account, **others)


@cache
def find_client_python(wanted: str) -> str:
    """Return an interpreter that can import `nbd`: the wanted one, this one, the system's. Raises RuntimeError."""
    candidates = [wanted] if wanted else [sys.executable, _SYSTEM_PYTHON]
    for python in candidates:
        try:
            subprocess.run([python, "-c", "import nbd"], check=True, capture_output=True, timeout=30)
        except (OSError, subprocess.SubprocessError):
            continue
        return python
    raise RuntimeError(f"no Python module nbd (Debian: python3-libnbd) in {', '.join(candidates)}")
