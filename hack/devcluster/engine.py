"""A container engine: the machine's own, or the one that `from_packages` starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .shell import run, succeeds


@dataclass(frozen=True)
class Engine:
    """An engine to talk to."""

    own: bool
    """Ours: started by us from Debian's package, with a node image from packages."""
    command: str = "docker"
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Output of `docker ARGUMENTS`. Raises SetupError."""
        return run(self.command, *arguments, env=self.env, stdin=stdin)

    def succeeds(self, *arguments: str | Path) -> bool:
        """Return whether `docker ARGUMENTS` ends with 0."""
        return succeeds(self.command, *arguments, env=self.env)

    def has_image(self, tag: str) -> bool:
        """Return whether the engine holds an image of that name."""
        return self.succeeds("image", "inspect", tag)

    def answers(self) -> bool:
        """Return whether the engine is there."""
        # a podman without its service has no server part
        query = ("info",) if self.command == "podman" else ("version", "--format", "{{.Server.Version}}")
        return succeeds(self.command, *query, env=self.env, timeout=30)
