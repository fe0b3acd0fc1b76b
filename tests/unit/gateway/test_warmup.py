import httpx
from tests.unit.gateway.rig import Directory

from sendense_operator.gateway.drain import Drain
from sendense_operator.gateway.forward import Forwarder
from sendense_operator.gateway.limits import CallLimits
from sendense_operator.gateway.routes import Gateway, create_app
from sendense_operator.gateway.warmup import Warmup


def test_nothing_is_expected() -> None:
    assert Warmup().waiting_for == ""


def test_it_ends_once_and_for_all() -> None:
    done = False
    warmup = Warmup()
    warmup.expect("lists", lambda: done, 30)
    assert warmup.waiting_for == "lists"
    done = True
    assert warmup.waiting_for == ""
    done = False
    assert warmup.waiting_for == ""


def test_it_is_bounded() -> None:
    now = 1000.0
    warmup = Warmup(lambda: now)
    warmup.expect("lists", lambda: False, 30)
    now += 29.9
    assert warmup.waiting_for == "lists"
    now += 0.1
    assert warmup.waiting_for == ""


async def test_readyz_tells_of_it_and_callbacks_do_not_care() -> None:
    directory, limits, warmup = Directory(), CallLimits(9, 9, 9), Warmup()
    app = create_app(Gateway(directory, Forwarder(directory, limits, 0.01), limits, Drain(), warmup))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        warmup.expect("lists", lambda: False, 30)
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "lists")
        call = await http.get("/appliances/shop/vma/api/v1/backups/changeid", params={"vm_name": "x", "disk_id": "0"})
        assert call.status_code == 404
        directory.synced = False
        assert (await http.get("/readyz")).text != "lists"
