"""Runs kopf: its watches feed the queue. When it gives up (an API server away for long), it is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import kopf

from sendense_operator.api.v1alpha1 import names
from sendense_operator.controller.handlers import Add, register
from sendense_operator.logs import get_logger
from sendense_operator.reconcile.state.hints import WatchHints

_RESTART_S: Final = 5.0
_KOPF: Final = f"kopf.{names.GROUP}"
_COMPONENTS: Final = ",".join(
    (
        names.COMPONENT_WORKER,
        names.COMPONENT_PROBE,
        names.COMPONENT_VERIFICATION,
        names.COMPONENT_RESTORE,
        names.COMPONENT_CONSOLIDATION,
    )
)
_OURS: Final = f"{names.LABEL_COMPONENT} in ({_COMPONENTS})"
_log = get_logger(__name__)


def build_settings() -> kopf.OperatorSettings:
    """Return settings of kopf: nothing is written into objects, only our own Jobs and pods are watched."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.finalizer = f"{_KOPF}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=_KOPF)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=_KOPF)
    settings.watching.chunk_size = 250
    settings.watching.label_selectors["batch", "v1", "jobs"] = _OURS
    settings.watching.label_selectors["", "v1", "pods"] = _OURS
    return settings


def build_registry(add: Add, hints: WatchHints) -> kopf.OperatorRegistry:
    """Return the handlers, and how kopf logs in (by itself, so that it loads no client library)."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    register(registry, add, hints)
    return registry


async def watch_forever(
    add: Add, hints: WatchHints, namespaces: tuple[str, ...], identity: str, on_ready: Callable[[], None]
) -> None:
    """Until SIGTERM or SIGINT, which kopf listens for, or until cancelled."""
    name: Any = identity
    while True:
        ready = asyncio.Event()
        announce = asyncio.create_task(_announce(ready, on_ready))
        try:
            await kopf.operator(
                registry=build_registry(add, hints),
                settings=build_settings(),
                # Else it asks for the user's name, and a container's user has none.
                identity=name,
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                ready_flag=ready,
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # Whatever it was, watching is what this process is for.
            _log.warning("watching ended", error=f"{type(error).__name__}: {error}", retry_s=_RESTART_S)
            _log.debug("watching ended", exc_info=error)
        else:
            return
        finally:
            announce.cancel()
        await asyncio.sleep(_RESTART_S)


async def _announce(ready: asyncio.Event, on_ready: Callable[[], None]) -> None:
    await ready.wait()
    on_ready()
