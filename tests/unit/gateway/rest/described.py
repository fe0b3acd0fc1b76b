"""What the description says of a call, compared with what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.unit.gateway.rest.rig import Rig


async def assert_example(rig: Rig, method: str, path: str, parameters: Mapping[str, str]) -> None:
    """The example of a call is its answer to the example of its body. `parameters`: of the path, by name."""
    described = (await rig.http.get("/openapi.json")).json()
    template = path.partition("?")[0]
    for name, value in parameters.items():
        template = f"{template}/".replace(f"/{value}/", f"/{{{name}}}/").removesuffix("/")
    reported = described["paths"][template][method.lower()]
    options: dict[str, Any] = {}
    if "requestBody" in reported:
        options["json"] = reported["requestBody"]["content"]["application/json"]["examples"]["example"]["value"]
    answer = await rig.call(method, path, **options)
    expected = reported["responses"][str(answer.status_code)]["content"]["application/json"]["examples"]["example"]
    got = answer.json()
    if method == "POST":
        made_up = next(name for name in ("restore_id", "request", "backup_id") if name in got)
        got[made_up] = expected["value"][made_up]
    assert got == expected["value"]
    assert set(rig.world.tokens) <= {"admin"}
