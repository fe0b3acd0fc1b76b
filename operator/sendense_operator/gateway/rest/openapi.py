"""The OpenAPI description: what FastAPI can't know of itself, and a page that shows it without loading anything."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.models import Example
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from sendense_operator.gateway.rest import examples, schemas

_TEXTS: Final = {
    "start": "Creates a Backup. With backup_id the call can be repeated: the second one is answered 409. "
    "vm_name is a VM that has not vanished from vCenter, else a ProtectedVM, else a VM that vanished; 409 when there "
    "are several: then say vm_context_id.",
    "list": "The Backups that fit all filters that are given, the newest first; all without a filter.",
    "get": "One Backup.",
    "delete": "Deletes a Backup and, unless others need them, its files; 200 when it has gone before the answer.",
    "chain": "The restore points of one disk: of the repository that is named, else of the one with the newest. "
    "vm_name means what it means in start, as far as there are restore points; else the VM that was called so when "
    "they were made.",
    "consolidate": "Requests that the layers of removed restore points be merged into those that depend on them, "
    "whatever that frees; 409 where the chain's mode is Never. The chain says how far it is. vm_name means what it "
    "means in chain.",
    "restore_start": "Creates a Restore: of the restore point of backup_id, or of the newest undamaged one of vm_name "
    "or vm_context_id in repository_id that `at` allows. Its disks are written to the claims that targets names, or to "
    "those of a new virtual_machine, and read back, or only read with verify_only. vm_name means what it means in "
    "chain. With restore_id the call can be repeated: the second one is answered 409.",
    "restore_list": "The Restores that fit all filters that are given, the newest first; all without a filter.",
    "restore_get": "One Restore, with progress and result of each disk.",
    "restore_delete": "Deletes a Restore. One that has not ended is stopped, and its unfinished images are removed, as "
    "are claims that it made; what a completed one wrote stays. 200 when it has gone before the answer.",
    "vms": "The VMs that can be backed up, and whether they are protected.",
}
_MEANINGS: Final = {
    200: "Done.",
    202: "Accepted: it goes on in the cluster.",
    400: "The request is wrong; `error` says where.",
    401: "No token, or one that the API server does not know.",
    403: "RBAC does not allow it to the token's owner.",
    404: "Not there.",
    405: "Not possible with this path.",
    409: "A name is taken or not unique, or a backup is no restore point.",
    429: "Too many requests of this user are in flight: try again after `Retry-After` seconds.",
    503: "The Kubernetes API is away: try again after `Retry-After` seconds.",
}
IN_NAMESPACE: Final = "_in_namespace"
"""Ends the operation ids of the paths that name per namespace."""
_DELETIONS: Final = ("delete", "restore_delete")
"""Operations with an answer for what has gone already, which is not the one of the example."""
PARAMETERS: Final = {name: {"example": Example(value=value)} for name, value in examples.PARAMETERS.items()}


@dataclass(frozen=True, slots=True)
class Operation:
    """What is documented of one endpoint."""

    name: str
    method: str
    status: int
    answer: type[BaseModel]
    others: tuple[int, ...]
    """Further statuses: with the same answer below 400."""
    body: type[BaseModel] | None = None

    @property
    def text(self) -> str:
        """What it does."""
        return _TEXTS[self.name]


def answers(operation: Operation) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses`."""
    found: dict[int | str, dict[str, Any]] = {
        operation.status: {"model": operation.answer, "description": _MEANINGS[operation.status]}
    }
    for status in operation.others:
        model = operation.answer if status < 400 else schemas.Error
        found[status] = {"model": model, "description": _MEANINGS[status]}
    return found


def body_of(operation: Operation) -> dict[str, Any] | None:
    """FastAPI's `openapi_extra`: the body, which is read whatever content type it claims."""
    if operation.body is None:
        return None
    content = {
        "schema": operation.body.model_json_schema(),
        "examples": {"example": {"value": examples.REQUESTS[operation.name]}},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the description, without the 422 that FastAPI adds and this API never answers."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                _add_example(operation)
        for name in ("HTTPValidationError", "ValidationError"):
            schema.get("components", {}).get("schemas", {}).pop(name, None)
        app.openapi_schema = schema
    return app.openapi_schema


def _add_example(operation: dict[str, Any]) -> None:
    """Add the examples here, since FastAPI drops each null of an example."""
    name = operation["operationId"].removesuffix(IN_NAMESPACE)
    done = [code for code in operation["responses"] if code.startswith("2")]
    status = next(code for code in done if code != "200" or name not in _DELETIONS)
    content = operation["responses"][status]["content"]["application/json"]
    content["examples"] = {"example": {"value": examples.ANSWERS[name]}}


def page(schema: dict[str, Any]) -> str:
    """Return the description as a page for people."""
    parts = [f"<h1>{html.escape(schema['info']['title'])}</h1>", f"<p>{html.escape(schema['info']['description'])}</p>"]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts.append(_section(path, method, operation))
    style = "body{font:16px sans-serif;margin:2em auto;max-width:60em}pre{background:#eee;padding:1em;overflow:auto}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>REST API</title><style>{style}</style>'
    return f'{head}<p><a href="openapi.json">openapi.json</a></p>{"".join(parts)}</html>'


def _section(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = [
        f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>",
        f"<p>{html.escape(operation['description'])}",
    ]
    rows += [
        f"<li><code>{html.escape(one['name'])}</code> ({one['in']}) {html.escape(one.get('description', ''))}"
        for one in operation.get("parameters", ())
    ]
    if "requestBody" in operation:
        rows.append(_examples("Body", operation["requestBody"]["content"]))
    for status, answer in operation["responses"].items():
        rows.append(f"<p><b>{status}</b> {html.escape(answer['description'])}")
        rows.append(_examples("Answer", answer.get("content", {})))
    return "\n".join(rows)


def _examples(title: str, content: dict[str, Any]) -> str:
    found = content.get("application/json", {}).get("examples", {})
    return "".join(f"<p>{title}:<pre>{html.escape(json.dumps(one['value'], indent=2))}</pre>" for one in found.values())
