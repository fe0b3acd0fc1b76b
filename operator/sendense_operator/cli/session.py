"""What a command works with: the API server as its user sees it, the namespace, the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sendense_operator.cli.errors import CommandError, ExitCode
from sendense_operator.cli.object_output import Format, encoded
from sendense_operator.cli.screen import Screen
from sendense_operator.cluster.api_client import KubernetesCluster
from sendense_operator.cluster.errors import ForbiddenError, NotFoundError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.objects import Obj

MANAGER = "kubectl-sendense"
"""Owner of the fields that the command line writes."""


@dataclass
class Session:
    """One run of a command."""

    cluster: KubernetesCluster
    namespace: str
    everywhere: bool
    """Whether lists are of all namespaces."""
    form: Format
    screen: Screen
    watched: bool = False
    """Whether the command is repeated."""
    code: ExitCode = ExitCode.DONE
    """Exit code of a command that goes on although something is missing."""
    _refused: set[str] = field(default_factory=set)

    @property
    def scope(self) -> str | None:
        """Namespace of lists; None for all."""
        return None if self.everywhere else self.namespace

    @property
    def for_people(self) -> bool:
        """Whether the output is a table rather than something that a program reads."""
        return self.form is Format.TABLE

    def now(self) -> datetime:
        """Return the time by the API server's clock."""
        return self.cluster.now()

    async def list(self, kind: Kind, *, labels: str = "", fields: str = "") -> list[Obj]:
        """Return the objects that fit; none, and a line on standard error, where the user may not list them.

        Raises CommandError where the kind is not served.
        """
        try:
            return await self.cluster.list_objects(kind, self.scope, labels=labels, fields=fields)
        except ForbiddenError:
            self.refuse("list", kind)
            return []
        except NotFoundError as error:
            raise CommandError(
                f"this cluster serves no {kind.plural}", "install the operator: `sendense doctor` says what is missing"
            ) from error

    async def find(self, kind: Kind, name: str) -> Obj | None:
        """Return the object; None where there is none, and (with a line) where the user may not read it."""
        try:
            return await self.cluster.get(kind, self.namespace, name)
        except ForbiddenError:
            self.refuse("get", kind)
        except NotFoundError:
            pass
        return None

    async def get(self, kind: Kind, name: str) -> Obj:
        """Return the object. Raises CommandError where there is none, or the user may not read it."""
        try:
            return await self.cluster.get(kind, self.namespace, name)
        except ForbiddenError as error:
            raise self.missing_right("get", kind) from error
        except NotFoundError as error:
            raise CommandError(f"no {kind.kind} {name} in namespace {self.namespace}", _where(kind)) from error

    async def create(self, kind: Kind, obj: Obj, *, dry_run: bool = False) -> Obj:
        """Create an object in the session's namespace. Raises CommandError without the right, and ClusterError."""
        try:
            return await self.cluster.create(kind, obj, dry_run=dry_run)
        except ForbiddenError as error:
            raise self._denied("create", kind, error) from error

    async def change(self, kind: Kind, name: str, patch: Obj) -> Obj:
        """Merge `patch` into the object. Raises CommandError without the right or the object, and ClusterError."""
        try:
            return await self.cluster.merge_patch(kind, self.namespace, name, patch)
        except ForbiddenError as error:
            raise self._denied("patch", kind, error) from error
        except NotFoundError as error:
            raise CommandError(f"no {kind.kind} {name} in namespace {self.namespace}", _where(kind)) from error

    async def delete(self, kind: Kind, name: str, uid: str | None) -> None:
        """Delete the object, if it still is the one with that UID. Raises CommandError without the right."""
        try:
            await self.cluster.delete(kind, self.namespace, name, uid=uid)
        except ForbiddenError as error:
            raise self._denied("delete", kind, error) from error

    def refuse(self, verb: str, kind: Kind) -> None:
        """Say once that a right is missing; the command goes on, and ends with an exit code that is not 0."""
        error = self.missing_right(verb, kind)
        self.code = ExitCode.FAILED
        if str(error) not in self._refused:
            self._refused.add(str(error))
            self.screen.note(f"{error}: {error.hint}")

    def missing_right(self, verb: str, kind: Kind) -> CommandError:
        """Return the error that names verb and resource."""
        where = "the cluster" if not kind.namespaced or self.scope is None else f"namespace {self.namespace}"
        resource = f"{kind.plural}.{group}" if (group := kind.api_version.rpartition("/")[0]) else kind.plural
        return CommandError(
            f"you may not {verb} {resource} in {where}", f"ask its admin for the verb {verb} on {resource}"
        )

    def _denied(self, verb: str, kind: Kind, error: ForbiddenError) -> CommandError:
        if error.terminating:
            return CommandError(f"namespace {self.namespace} is being deleted", "choose another one with -n")
        return self.missing_right(verb, kind)

    def put_out(self, *objects: Mapping[str, Any], single: bool = False) -> bool:
        """Print the objects for a program, if that was asked for; return whether it was."""
        if self.for_people:
            return False
        self.screen.raw(encoded(objects, self.form, single=single))
        return True


def _where(kind: Kind) -> str:
    return f"`kubectl get {kind.plural} -A` lists those that there are; choose the namespace with -n"
