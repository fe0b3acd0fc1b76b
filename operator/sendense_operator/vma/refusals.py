"""What an error text of the VMA means: the VMA answers 500 and plain text, whoever it was that refused."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Refusal(StrEnum):
    """Another try can't help with any of these; also the reason shown to the user."""

    VCENTER_REFUSED = "VCenterRefused"
    VCENTER_UNREACHABLE = "VCenterUnreachable"
    VM_NOT_FOUND = "VMNotFound"


# Words of vCenter, of Go's network library and of the VMA; the first row that matches decides, before _NO_SUCH.
_WORDS: Final[tuple[tuple[Refusal, tuple[str, ...]], ...]] = (
    (
        Refusal.VCENTER_REFUSED,
        (
            "incorrect user name or password",
            "cannot complete login",
            "invalidlogin",
            "invalid login",
            "authentication",
            "not authenticated",
            "permission to perform",
            "nopermission",
            "unauthorized",
            "locked",
        ),
    ),
    (
        Refusal.VCENTER_UNREACHABLE,
        (
            "connection refused",
            "no such host",
            "server misbehaving",
            "no route to host",
            "network is unreachable",
            "i/o timeout",
            "deadline exceeded",
            "connection reset",
            "dial tcp",
            "x509:",
            "tls:",
            "unreachable",
        ),
    ),
)
# Of vCenter's inventory. A router's `404 page not found`, a file or a program that is missing say nothing of the VM.
_NO_SUCH: Final = re.compile(
    r"(?<![\w/])(?:vm|virtual machine|datacenter)[\s:]*(?:'[^']*'|\"[^\"]*\")?\s*"
    r"(?:(?:was |is )?not found|does not exist)"
    r"|no such (?:vm|virtual machine|datacenter)\b"
)


def reason_of_refusal(text: str, vm_path: str) -> Refusal | None:
    """Why vCenter refused; None for words that don't say so: then it may be the VMA, and pass.

    The VM's own name may hold any of these words, so it is left out.
    """
    lower = text.replace(vm_path, "").lower()
    found = next((reason for reason, words in _WORDS if any(word in lower for word in words)), None)
    return found or (Refusal.VM_NOT_FOUND if _NO_SUCH.search(lower) else None)
