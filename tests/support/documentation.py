"""The commands of the documentation and the README, as a person finds them there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from tests.support.kube import CHECKOUT

PAGES: Final = (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md")))
TEXTS: Final = {str(page.relative_to(CHECKOUT)): page.read_text(encoding="utf-8") for page in PAGES}


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [(language, content) for _, language, content in found]


def _commands(text: str) -> Iterator[list[str]]:
    """Words of each command, pipes and lists taken apart."""
    for language, content in blocks(text):
        for line in content.replace("\\\n", " ").splitlines() if language == "sh" else ():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
            lexer.whitespace_split = True
            command: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("|&;"):
                    if command:
                        yield command
                    command = []
                else:
                    command.append(word)


COMMANDS: Final = [(page, command) for page, text in TEXTS.items() for command in _commands(text)]


def line_of(command: list[str]) -> str:
    """Return a command's words in one line, without the quotes."""
    return " ".join(command)


def documented(start: str) -> list[str]:
    """Return the words of the only command that starts like this. Raises ValueError when there are more, or none."""
    (line,) = {line_of(command) for _, command in COMMANDS if line_of(command).startswith(start)}
    return next(command for _, command in COMMANDS if line_of(command) == line)


_VERBS: Final = ("annotate", "delete", "describe", "explain", "get", "label", "logs", "patch")
_ELSEWHERE: Final = ("kubectl delete -f", "kubectl logs -n backups")
"""What needs more than objects: the end of all definitions, a worker's pod."""


def needs_only_objects(command: list[str]) -> bool:
    """Return whether it is one of kubectl that can be run as it stands, in a namespace with its objects."""
    return command[0] == "kubectl" and command[1] in _VERBS and not line_of(command).startswith(_ELSEWHERE)


def changes_the_installation(command: list[str]) -> bool:
    """Return whether it installs or upgrades the chart or the definitions."""
    return command[:2] in (["helm", "install"], ["helm", "upgrade"]) or "--server-side" in command


def option(command: list[str], name: str) -> str:
    """Return the value of a command's option; empty without it."""
    return next((value for word, value in pairwise(command) if word == name), "")


def placed(command: list[str], namespace: str, **names: str) -> list[str]:
    """Return a command of kubectl for another namespace than `backups`, and with the time that a shell would insert.

    names: what placeholders such as NAME stand for.
    """
    words = [names.get(word, re.sub(r"\$\(date.*\)", "1759665600", word)) for word in command]
    found = option(words, "-n")
    if found == "backups":
        words[words.index("-n") + 1] = namespace
    # without -n it is for the namespace of the caller's context
    return words if found or words[1] == "explain" else [*words, "-n", namespace]
