"""How a command ends that can't do what it was asked for."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of all commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    TIMED_OUT = 124
    """As that of `timeout`."""
    INTERRUPTED = 130


class CommandError(Exception):
    """The command can't go on. The text is one line: what is wrong; `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def usage(message: str, hint: str = "") -> CommandError:
    """Return the error for arguments that can't be meant."""
    return CommandError(message, hint, ExitCode.USAGE)
