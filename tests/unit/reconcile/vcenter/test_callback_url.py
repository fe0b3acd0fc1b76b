"""The control-plane URL that an appliance's status shows."""

from typing import Any

from tests.support.callbackkeys import FixedKeys

from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.reconcile.state.settings import Settings
from sendense_operator.reconcile.vcenter.appliance_reconciler import callback_url
from sendense_operator.vma.callback_path import make_token

KEYS = FixedKeys()
SPEC = {
    "url": "http://vma.example:8081",
    "vcenter": {"host": "vcenter.example", "credentialsSecretRef": {"name": "vcenter"}},
}


def url(keys: FixedKeys = KEYS, gateway: str = "http://gateway.example", **callbacks: Any) -> str | None:
    spec = VMwareApplianceSpec.model_validate({**SPEC, "callbacks": callbacks})
    return callback_url("shop", "vma", spec, Settings(worker_image="x", gateway_url=gateway), keys)


def test_it_has_a_secret_part_that_rotates() -> None:
    first, second = (str(make_token(KEYS.current() or b"", "shop", "vma", rotation)) for rotation in (0, 1))
    assert url() == f"http://gateway.example/appliances/shop/vma/{first}"
    assert url(baseURL="http://own:1/base/") == f"http://own:1/base/appliances/shop/vma/{first}"
    assert url(rotation=1) == f"http://gateway.example/appliances/shop/vma/{second}"
    assert first != second


def test_without_a_base_or_a_key_there_is_none() -> None:
    assert url(gateway="") is None
    assert url(FixedKeys(None)) is None
