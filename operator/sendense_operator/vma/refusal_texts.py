"""What an error text of the VMA means: the VMA answers 500 and plain text, whoever it was that refused."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class VMARefusal(StrEnum):
    """What the error is about; also the reason shown to the user."""

    VCENTER_REFUSED = "VCenterRefused"
    """Wrong password or missing rights: another attempt can't help."""
    VCENTER_UNREACHABLE = "VCenterUnreachable"
    """vCenter is down, or the way to it is: it may come back."""
    VM_NOT_FOUND = "VMNotFound"
    """Another attempt can't help."""


# The network's words come first: the appliance wraps them in its own, such as `login failed: dial tcp ...`, while a
# vCenter that refused a login was reached.
_UNREACHABLE: Final = re.compile(
    r"connection (?:was )?(?:refused|reset|aborted|closed)|no such host|server misbehaving|no route to host"
    r"|(?:network|host) is (?:unreachable|down)|host unreachable|i/o timeout|deadline exceeded|client\.timeout"
    r"|handshake timeout|broken pipe|dial tcp|x509:|tls:|\bunreachable\b|\bEOF\b"
    r"|\b50[234] (?:bad gateway|service (?:temporarily )?unavailable|gateway time-?out)",
    re.IGNORECASE,
)
_LOGIN: Final = r"(?:log[ -]?in|log[ -]?on|logging in|authenticat\w*|credentials?)"
_FAILURE: Final = r"(?:fail\w*|refused|denied|rejected|invalid|incorrect|wrong|bad|unable|cannot|can't|could not)"
_REFUSED: Final = re.compile(
    rf"\b{_LOGIN}\b[^.;,\n]{{0,40}}\b{_FAILURE}\b|\b{_FAILURE}\b[^.;,\n]{{0,40}}\b{_LOGIN}\b"
    r"|(?:incorrect|wrong|invalid|bad) user ?name|(?:incorrect|wrong|invalid|bad) password"
    r"|invalid_?(?:login|credentials)|(?:not|un)[ -]?(?:authenticated|authorized)"
    r"|no_?permission|permission to perform|\b(?:account|user)\b[^.;,\n]{0,40}\b(?:locked|disabled|expired)\b",
    re.IGNORECASE,
)
# Of vCenter's inventory. A router's `404 page not found`, a file or a program that is missing say nothing of the VM.
_NO_SUCH: Final = re.compile(
    r"(?<![\w/])(?:vm|virtual machine|datacenter)[\s:]*(?:'[^']*'|\"[^\"]*\")?\s*"
    r"(?:(?:was |is )?not found|does not exist)"
    r"|no such (?:vm|virtual machine|datacenter)\b"
)


def reason_of_refusal(text: str, vm_path: str) -> VMARefusal | None:
    """Return why vCenter refused; None for words that don't say so: then it may be the VMA, and pass.

    The VM's own name may hold any of these words, so it is left out.
    """
    words = text.replace(vm_path, "") if vm_path else text
    if _UNREACHABLE.search(words):
        return VMARefusal.VCENTER_UNREACHABLE
    if _REFUSED.search(words):
        return VMARefusal.VCENTER_REFUSED
    return VMARefusal.VM_NOT_FOUND if _NO_SUCH.search(words.lower()) else None
