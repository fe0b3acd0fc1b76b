from pathlib import Path

import httpx
from tests.support.local_programs import eventually, free_port, write_kubeconfig
from tests.unit.cluster.apiserver import running_api
from tests.unit.gateway.program import running


async def test_the_program_serves_and_ends_at_term(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "key").write_bytes(b"k" * 32)
    async with running_api() as api, httpx.AsyncClient(trust_env=False) as http:
        environment = {
            "KUBECONFIG": str(write_kubeconfig(tmp_path / "config", api.url)),
            "SENDENSE_LISTEN_PORT": str(port),
            "SENDENSE_STATUS_PORT": str(free_port()),
            "SENDENSE_DRAIN_SECONDS": "0.1",
            "SENDENSE_NAMESPACES": "shop",
            "SENDENSE_CALLBACK_KEY_FOLDER": str(tmp_path),
            "SENDENSE_LOG_FORMAT": "text",
        }

        async def ready() -> bool:
            return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200

        async with running(tmp_path, environment) as program:
            await eventually(ready)
            code, log = await program.terminate()
        assert code == 0, log
        assert " INFO gateway backup=- " in log
        assert "ended" in log


async def test_without_a_key_it_does_not_start(tmp_path: Path) -> None:
    async with running(tmp_path, {"SENDENSE_CALLBACK_KEY_FOLDER": str(tmp_path)}) as program:
        code, log = await program.end()
    assert code == 1
    assert "SENDENSE_CALLBACK_KEY_FOLDER" in log


async def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    async with running(tmp_path, {"SENDENSE_HOLD_SECONDS": "long"}) as program:
        code, log = await program.end()
    assert code == 1
    assert "SENDENSE_HOLD_SECONDS" in log
