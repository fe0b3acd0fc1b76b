"""Names of what is made for another object: valid whatever its name, and a lock because they are deterministic."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sendense_operator.api.v1alpha1.names import NAME_PATTERN, is_object_name
from sendense_operator.cluster.object_names import chain_name, probe_name, service_name, vm_object_name, worker_name

object_names = st.from_regex(NAME_PATTERN, fullmatch=True).filter(lambda name: not name.endswith("\n"))
uids = st.uuids().map(str)


@given(object_names, object_names, uids)
def test_names_are_valid_and_the_same_each_time(one: str, other: str, uid: str) -> None:
    for name in (worker_name(one, uid), probe_name(one, uid), chain_name(one, other)):
        assert is_object_name(name), name
    assert worker_name(one, uid) == worker_name(one, uid)


@example("2024-db", "u", "v")
@example("1" * 63, "u", "v")
@given(object_names, uids, uids)
def test_a_service_begins_with_a_letter(name: str, uid: str, other: str) -> None:
    """As Kubernetes before 1.37 wants it; where the Job's name does too, they have the same."""
    found = service_name(name, uid)
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", found)
    assert name[0].isdigit() or found == worker_name(name, uid)
    assert (found == service_name(name, other)) is (uid == other)


@given(object_names, uids, uids)
def test_another_object_of_the_same_name_gets_another_name(name: str, uid: str, other: str) -> None:
    assert (worker_name(name, uid) == worker_name(name, other)) is (uid == other)


@given(object_names, uids)
def test_no_probe_is_taken_for_a_worker(name: str, uid: str) -> None:
    assert worker_name(name, uid) != probe_name(name, uid)


@given(object_names, object_names)
def test_room_is_left_for_what_a_job_adds_to_its_pods(vm: str, repository: str) -> None:
    assert len(chain_name(vm, repository)) <= 63


def test_chains_are_kept_apart() -> None:
    assert chain_name("a-b", "c") != chain_name("a", "b-c")
    assert chain_name("a", "b") != chain_name("b", "a")
    long = "x" * 60
    assert chain_name(long + "1", "r") != chain_name(long + "2", "r")


def test_the_start_of_the_name_can_be_read() -> None:
    assert worker_name("nightly-db", "u").startswith("nightly-db-bkp-")
    assert chain_name("db", "store").startswith("db-store-")


@given(st.text(), st.text())
def test_any_text_of_vmware_becomes_a_valid_name(vm_name: str, identity: str) -> None:
    name = vm_object_name(vm_name, identity)
    assert is_object_name(name), name
    assert name == vm_object_name(vm_name, identity)


@given(st.text(), st.uuids(), st.uuids())
def test_vms_of_one_name_are_kept_apart(vm_name: str, one: object, other: object) -> None:
    assert (vm_object_name(vm_name, str(one)) == vm_object_name(vm_name, str(other))) is (one == other)


@pytest.mark.parametrize(
    ("vm_name", "readable"),
    [
        ("db01", "db01"),
        ("DB_01.prod", "db-01-prod"),
        ("Müller & Söhne", "muller-sohne"),
        ("../../etc/passwd", "etc-passwd"),
        ("-x;rm -rf /", "x-rm-rf"),
        ("データ", "vm"),
        ("", "vm"),
        ("\ud800", "vm"),
        ("a" * 53 + "-" + "b" * 40, "a" * 53),
    ],
)
def test_what_can_be_read_of_a_vmware_name(vm_name: str, readable: str) -> None:
    assert vm_object_name(vm_name, "u").rpartition("-")[0] == readable
