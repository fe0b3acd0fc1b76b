"""Classification of the VMA's error texts: it answers 500 with plain text, whether itself or vCenter refused."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class VMARefusal(StrEnum):
    """Classes of errors; users see them as reasons of conditions."""

    VCENTER_REFUSED = "VCenterRefused"
    """Wrong password or missing rights; another attempt can't help."""
    VCENTER_UNREACHABLE = "VCenterUnreachable"
    """vCenter or the network to it is down; another attempt may help."""
    VM_NOT_FOUND = "VMNotFound"
    """vCenter does not have the VM or its datacenter; another attempt can't help."""


# Network errors are matched first, because the appliance adds words of its own, such as `login failed: dial tcp ...`.
# A vCenter that refused a login was reached, so its error contains none of these patterns.
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
# Objects of vCenter's inventory only: `404 page not found` or a missing file or program says nothing about the VM.
_NO_SUCH: Final = re.compile(
    r"(?<![\w/])(?:vm|virtual machine|datacenter)[\s:]*(?:'[^']*'|\"[^\"]*\")?\s*"
    r"(?:(?:was |is )?not found|does not exist)"
    r"|no such (?:vm|virtual machine|datacenter)\b"
)


def reason_of_refusal(text: str, vm_path: str) -> VMARefusal | None:
    """Return the class of an error text, None if it is unknown: then the VMA may have failed, and a retry may help.

    `vm_path` is removed from the text first, because the VM's name may contain any of the patterns.
    """
    words = text.replace(vm_path, "") if vm_path else text
    if _UNREACHABLE.search(words):
        return VMARefusal.VCENTER_UNREACHABLE
    if _REFUSED.search(words):
        return VMARefusal.VCENTER_REFUSED
    return VMARefusal.VM_NOT_FOUND if _NO_SUCH.search(words.lower()) else None
