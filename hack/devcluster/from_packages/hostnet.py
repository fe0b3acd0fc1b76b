"""What an engine changes on its host: remembered before it starts, undone after it has ended."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path

from ..shell import attempt, write
from .settings import SERVICE_SUBNET

_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_TABLES = ("filter", "nat", "mangle", "raw")
State = dict[str, list[str]]


def state() -> State:
    """Links, firewall rules and tables, forwarding: as lines of text."""
    now = {
        "links": [line.split(":")[1].strip().split("@")[0] for line in _lines("ip", "-o", "link")],
        "tables": _lines("nft", "list", "tables"),
        "forward": [_FORWARD.read_text().strip()],
        "routes": _lines("ip", "route", "show", "type", "unreachable"),
    }
    # looking through iptables makes the tables it looks at: list them first, look only where there is something
    for command, family in (("iptables", "ip"), ("ip6tables", "ip6")):
        for table in _TABLES:
            if f"table {family} {table}" in now["tables"]:
                now[f"{command} {table}"] = _lines(command, "-t", table, "-S")
    return now


def remember(file: Path) -> None:
    """Keep today's state in a file, unless an earlier engine, not undone yet, has left one."""
    if not file.exists():
        write(file, json.dumps(state(), indent=1))


def prepare() -> None:
    """A service address must never leave the machine while kube-proxy isn't up yet."""
    attempt("ip", "route", "replace", "unreachable", SERVICE_SUBNET)


def undo(file: Path, subnet: str) -> None:
    """Remove what came since `remember`: best effort, each part may be gone already. What others made stays.

    subnet: the network that the engine's bridges and rules were in.
    """
    if not file.exists():
        return
    before: State = json.loads(file.read_text())
    now = state()
    links = [link for link in now["links"] if link not in before["links"] and _address_in(link, subnet)]
    for link in links:
        attempt("ip", "link", "del", link)
    gone = (*links, f"{subnet.rpartition('.0.0/')[0]}.")
    # chains and policies are shared by all engines of a machine, the last one takes them along
    last = not another_engine()
    for key, rules in now.items():
        command, _, table = key.partition(" ")
        if table:
            _undo_rules([command, "-t", table], rules, before.get(key, []), gone, last)
    if last:
        _undo_shared(before, now)
    file.unlink()


def _address_in(link: str, subnet: str) -> bool:
    """Return whether a link is a bridge of that network."""
    prefix = f"{subnet.rpartition('.0.0/')[0]}."
    return link.startswith(("br-", "docker0")) and f"inet {prefix}" in attempt("ip", "-4", "addr", "show", link).stdout


def another_engine() -> bool:
    """Return whether some dockerd works on this machine's network (asked while ours doesn't run)."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            same_network = (process / "ns/net").readlink() == Path("/proc/self/ns/net").readlink()
            if same_network and (process / "comm").read_text().strip() == "dockerd":
                return True
    return False


def _undo_shared(before: State, now: State) -> None:
    """The route, tables that are empty now, forwarding."""
    if not any(SERVICE_SUBNET in route for route in before["routes"]):
        attempt("ip", "route", "del", "unreachable", SERVICE_SUBNET)
    for table in now["tables"]:
        # an empty one: only its braces and the chains' heads
        body = attempt("nft", "list", *table.split()).stdout
        if table not in before["tables"] and not _rules_in(body):
            attempt("nft", "delete", *table.split())
    with suppress(OSError):
        _FORWARD.write_text(before["forward"][0])


def _undo_rules(iptables: list[str], rules: list[str], before: list[str], gone: tuple[str, ...], last: bool) -> None:
    """Rules that name a bridge or network that is gone; with the last engine, its chains and what leads into them."""
    words = (*gone, "DOCKER", "docker0") if last else gone
    policies = dict(line.split()[1:3] for line in before if line.startswith("-P"))
    chains = [line.split()[1] for line in rules if line.startswith("-N DOCKER") and line not in before]
    for line in rules:
        if line in before or not line.startswith("-A") or (last and line.split()[1] in chains):
            continue
        if any(word in line for word in words):
            attempt(*iptables, "-D", *shlex.split(line)[1:])
    if not last:
        return
    for action in ("-F", "-X"):
        for chain in chains:
            attempt(*iptables, action, chain)
    for line in rules:
        if line.startswith("-P"):
            attempt(*iptables, "-P", line.split()[1], policies.get(line.split()[1], "ACCEPT"))


def _rules_in(table: str) -> list[str]:
    lines = (line.strip() for line in table.splitlines())
    return [line for line in lines if line and not line.startswith(("table", "chain", "type", "}", "#"))]


def _lines(*command: str) -> list[str]:
    return attempt(*command).stdout.splitlines()
