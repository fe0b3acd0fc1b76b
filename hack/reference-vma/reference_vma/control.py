"""The control API, `/_control`: what tests use and the appliance in the field does not have (README, "Control API")."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Response
from starlette.convertors import Convertor, register_url_convertor

from reference_vma import disks, inventory
from reference_vma.appliance import Appliance
from reference_vma.cbt import vm_lock
from reference_vma.inventory import VM

_COMMANDS = frozenset({"kill", "term", "die", "deadlock", "pause", "resume", "rate"})
JSONObject = Annotated[dict[str, Any], Body()]


class _Anything(Convertor[str]):
    """Path parameters that hold slashes and newlines: VMware names do."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


def _found(appliance: Appliance, name: str) -> VM:
    vm = inventory.find(appliance.settings.disks, name)
    if vm is None:
        raise HTTPException(404, f"no such VM, or several: {name}")
    return vm


def _bad_request(error: Exception) -> HTTPException:
    return HTTPException(422, str(error))


def control_router(appliance: Appliance) -> APIRouter:
    """Return all routes of one appliance."""
    router = APIRouter(prefix="/_control")
    _add_settings(router, appliance)
    _add_faults(router, appliance)
    _add_log_and_jobs(router, appliance)
    _add_vms(router, appliance)
    return router


def _add_settings(router: APIRouter, appliance: Appliance) -> None:
    @router.get("/settings")
    def read_settings() -> dict[str, Any]:
        return appliance.settings.shown

    @router.patch("/settings")
    def change_settings(body: JSONObject) -> dict[str, Any]:
        try:
            appliance.settings = appliance.settings.changed(body)
        except ValueError as error:
            raise _bad_request(error) from error
        return appliance.settings.shown

    @router.post("/reset", status_code=204)
    def reset(body: Annotated[dict[str, Any] | None, Body()] = None) -> None:
        appliance.reset(with_vms=bool((body or {}).get("vms")))


def _add_faults(router: APIRouter, appliance: Appliance) -> None:
    @router.post("/faults", status_code=201)
    def add_fault(body: JSONObject) -> dict[str, Any]:
        try:
            return appliance.faults.add(body).shown
        except ValueError as error:
            raise _bad_request(error) from error

    @router.get("/faults")
    def list_faults() -> list[dict[str, Any]]:
        return appliance.faults.list()

    @router.delete("/faults", status_code=204)
    def clear_faults() -> None:
        appliance.faults.remove()

    @router.delete("/faults/{fault_id}", status_code=204)
    def remove_fault(fault_id: int) -> None:
        if not appliance.faults.remove(fault_id):
            raise HTTPException(404, "no such fault")


def _add_log_and_jobs(router: APIRouter, appliance: Appliance) -> None:
    @router.get("/log")
    def read_log(
        since: int = 0, job: str = "", vm: str = "", kind: str = "", event: str = "", path: str = ""
    ) -> dict[str, Any]:
        last = appliance.log.last
        return {
            "entries": appliance.log.find(since, path, job_id=job, vm=vm, kind=kind, event=event),
            "last": last,
        }

    @router.delete("/log", status_code=204)
    def clear_log() -> None:
        appliance.log.clear()

    @router.get("/jobs")
    def list_jobs() -> list[dict[str, Any]]:
        return appliance.jobs.list()

    @router.post("/jobs/{job_id}/command")
    def command(job_id: str, body: JSONObject) -> dict[str, int]:
        if body.get("command") not in _COMMANDS:
            raise HTTPException(422, f"command is one of {', '.join(sorted(_COMMANDS))}")
        return {"sent": appliance.jobs.command(job_id, body)}


def _add_vms(router: APIRouter, appliance: Appliance) -> None:
    @router.get("/vms")
    def list_vms() -> list[dict[str, Any]]:
        return [appliance.show_vm(vm) for vm in inventory.scan(appliance.settings.disks)]

    @router.post("/vms", status_code=201)
    def make_vm(body: JSONObject) -> dict[str, Any]:
        try:
            replace_vm(appliance, body)
            vm = inventory.find(appliance.settings.disks, disks.describe_vm(body)["path"])
        except (ValueError, TypeError) as error:
            raise _bad_request(error) from error
        if vm is None:
            raise HTTPException(500, "the VM was removed meanwhile")
        if body.get("track"):
            appliance.track(vm)
        return appliance.show_vm(vm)

    @router.post("/vms/{name:anything}/write")
    def write(name: str, body: JSONObject) -> dict[str, Any]:
        vm = _found(appliance, name)
        try:
            with vm_lock(appliance.settings.state, vm.uuid):
                return {"ranges": write_vm(vm, body)}
        except (ValueError, TypeError, KeyError) as error:
            raise _bad_request(error) from error

    @router.post("/vms/{name:anything}/reset-cbt", status_code=204)
    def reset_cbt(name: str) -> None:
        appliance.reset_cbt(_found(appliance, name))

    @router.post("/vms/{name:anything}/track", status_code=204)
    def track(name: str) -> None:
        appliance.track(_found(appliance, name))

    @router.post("/vms/{name:anything}/forget-change-ids", status_code=204)
    def forget_change_ids(name: str, body: Annotated[dict[str, Any] | None, Body()] = None) -> None:
        appliance.forget_change_ids(_found(appliance, name), (body or {}).get("key"))

    @router.get("/vms/{name:anything}")
    def show_vm(name: str) -> dict[str, Any]:
        return appliance.show_vm(_found(appliance, name))

    @router.delete("/vms/{name:anything}", status_code=204)
    def remove_vm(name: str) -> Response:
        appliance.remove_vm(_found(appliance, name))
        return Response(status_code=204)


def replace_vm(appliance: Appliance, spec: dict[str, Any]) -> Path:
    """Make a VM; one with the same path goes, wherever it lies. Raises ValueError."""
    root = appliance.settings.disks
    folder = disks.make_vm(root, spec, appliance.settings.workers)
    path = disks.describe_vm(spec)["path"]
    for other in (other for other in inventory.scan_all(root) if other.path == path and other.folder != folder):
        shutil.rmtree(other.folder, ignore_errors=True)
    return folder


def write_vm(vm: VM, body: dict[str, Any]) -> list[list[int]]:
    """Write into a VM's disks as the control API says; key, offset and length of each write. Raises ValueError."""
    seed, fill = str(body.get("seed", 1)), str(body.get("fill", "random"))
    chosen = [disk for disk in vm.disks if body.get("key") in (None, disk.key)]
    if not chosen:
        raise ValueError("no such disk")
    written: list[list[int]] = []
    choose = random.Random(seed)
    if "ranges" in body:
        ranges = [(int(offset), int(length)) for offset, length in body["ranges"]]
        disks.write_ranges(chosen[0].file, ranges, seed, fill)
        return [[chosen[0].key, offset, length] for offset, length in ranges]
    low = int(body.get("min_size", body.get("size", 4096)))
    high = int(body.get("max_size", body.get("size", 65536)))
    for number in range(int(body.get("count", 1))):
        disk = choose.choice(chosen)
        ranges = disks.random_ranges(disk.virtual_size, 1, min(low, high), high, choose)
        disks.write_ranges(disk.file, ranges, f"{seed}/{number}", fill)
        written.extend([disk.key, offset, length] for offset, length in ranges)
    return written
