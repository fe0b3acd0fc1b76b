"""Each command and manifest of the documentation is run by a test or by the demo, or included from a file that is."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from tests.unit.docs.test_commands import CHECKOUT, COMMANDS, TEXTS, _blocks

from sendense_operator.logs import AUDIT, LogFormat, backup_context, get_logger, setup_logging

Where = tuple[str, str]
"""A file, and a text in it that does what the command does."""

QUICKSTART: Final = "tests/e2e/test_quickstart.py"
LISTING: Final = "tests/apiserver/test_listing.py"
VERIFICATION: Final = "tests/e2e/test_verification.py"
POLICIES: Final = "tests/e2e/test_policies.py"
REST: Final = "tests/e2e/test_rest.py"
RELEASE: Final = "hack/devcluster/release.py"
CALLER: Final = "tests/support/rest.py"

RUN: Final[dict[str, Where]] = {
    r"make demo": ("Makefile", "hack/demo"),
    r"make bench PARTS=many": ("tests/unit/hack/test_manypoints.py", "manypoints.controller("),
    # The chart: what the tests install it with, and renderings of the values that they do not use.
    r"helm install \S+ charts/sendense-backup .*image\.tag=.*": (RELEASE, '"upgrade", "--install", RELEASE, _CHART'),
    r"helm install \S+ charts/sendense-backup .*crds\.install=false": (
        "tests/unit/chart/test_metadata.py",
        '{"crds": {"install": False}}',
    ),
    r"helm upgrade \S+ charts/sendense-backup .*image\.tag=.*": (RELEASE, '"upgrade", "--install", RELEASE, _CHART'),
    r"helm upgrade \S+ charts/sendense-backup .*gateway\.service\.nodePort=.*": (
        "tests/unit/chart/test_services.py",
        '"nodePort": 30882',
    ),
    r"helm upgrade \S+ charts/sendense-backup .*networkPolicy\.metricsFrom.*": (
        "tests/unit/chart/test_network_policies.py",
        '"metricsFrom": ',
    ),
    r"helm uninstall sendense-backup .*": ("tests/e2e/test_catalogue.py", '"helm", "uninstall", chart.RELEASE'),
    r"kubectl apply --server-side -f crds/": ("tests/apiserver/test_kubectl.py", "test_the_cluster_serves_what_the"),
    r"kubectl delete -f crds/": ("tests/e2e/test_catalogue.py", '"delete", "-f", str(CHECKOUT / "crds")'),
    # Resources
    r"kubectl apply -f examples/quickstart": (QUICKSTART, 'FOLDER = CHECKOUT / "examples" / "quickstart"'),
    r"kubectl apply -f examples/[a-z]+/[a-z-]+\.yaml": (QUICKSTART, "def test_every_other_example_is_accepted("),
    r"kubectl wait -n backups backup/\S+ --for=condition=Ready .*": (QUICKSTART, '"--for=condition=Ready"'),
    r"kubectl get backups -n backups( -w)?": ("tests/e2e/test_progress.py", '"get", "backups"'),
    r"kubectl get (vma|pvm|backups|bchain) -n backups( -o wide)?": (LISTING, "def test_columns("),
    r"kubectl get (vma|bkp|brepo) \S+ -n backups -o yaml": ("tests/apiserver/test_kubectl.py", "def test_category("),
    r"kubectl get (vma|bkp|brepo) -n backups \S+ -o yaml": ("tests/apiserver/test_kubectl.py", "def test_category("),
    r"kubectl get vma \S+ -n backups -o jsonpath=\{\.status\.callbackURL\}": (
        "tests/e2e/test_appliances.py",
        'status["callbackURL"]',
    ),
    r"kubectl get backups -n backups --field-selector \S+": (LISTING, '"vm": "spec.vmRef.name"'),
    r"kubectl get backups -n backups -l backup\.sendense\.io/\S+": (LISTING, "labels=by_label"),
    r"kubectl explain backup\.spec": ("tests/apiserver/test_kubectl.py", '"explain", f"{short}.spec"'),
    r"kubectl describe backup -n backups \S+": ("tests/support/workspace.py", 'select("Event"'),
    r'kubectl patch backup .*\{"spec":\{"cancel":true\}\}': (
        "tests/e2e/test_stopping.py",
        '{"spec": {"cancel": True}}',
    ),
    r'kubectl patch bchain .*"parentCheck":"Structure".*': (
        "tests/apiserver/test_rejections.py",
        '(CHAIN, "spec.parentCheck", "Structure")',
    ),
    r"kubectl patch vma .*acceptFormerPaths.*": ("tests/unit/gateway/test_caller_check.py", "acceptFormerPaths"),
    r"kubectl annotate brepo main .*backup\.sendense\.io/scan=.*": (
        "tests/support/workspace.py",
        '{"backup.sendense.io/scan": request}',
    ),
    # Policies
    r"kubectl label protectedvm pgtest1 -n backups backup=gold": (POLICIES, 'label(space, name, "gold")'),
    r"kubectl get backuppolicies -n backups": (LISTING, "def test_columns("),
    r"kubectl get backupchains? .*-o (wide|yaml)": ("tests/e2e/test_incrementals.py", 'kube.table("BackupChain"'),
    r"kubectl annotate backuppolicy nightly .*backup\.sendense\.io/run=.*": (POLICIES, "names.ANNOTATION_RUN: "),
    r"kubectl annotate backup pgtest1-full .*backup\.sendense\.io/verify=.*": (
        VERIFICATION,
        'kube.merge("Backup", "full"',
    ),
    r"kubectl annotate backupchain NAME .*backup\.sendense\.io/verify=.*": (
        VERIFICATION,
        'kube.merge("BackupChain", name',
    ),
    r"kubectl delete backup -n backups \S+": ("tests/e2e/test_catalogue.py", 'kube.delete("Backup", "incr"'),
    # Logs
    r"kubectl logs -n \S+ .*": ("hack/devcluster/release.py", '"logs", "-n"'),
    r"jq -r?R .*fromjson.*": ("tests/unit/docs/test_commands_are_run.py", "def test_the_log_is_what_the_page_shows("),
    # REST
    r"kubectl get secret -n sendense-system sendense-backup-api-tls .*": (CALLER, "b64decode(secret(kube)"),
    r"base64 -d .*": (CALLER, "base64.b64decode("),
    r"kubectl port-forward -n sendense-system svc/sendense-backup-api 8443:443": (CALLER, "programs.forwarded("),
    r"kubectl create serviceaccount -n backups me": (CALLER, '"create", "serviceaccount"'),
    r"kubectl create rolebinding -n backups me --clusterrole=edit .*": (CALLER, "--clusterrole={role}"),
    r"(api|auth)=.*": (CALLER, '"create", "token"'),
    r"curl .*/openapi\.json": (REST, "/openapi.json"),
    r"curl .*/backup/start .*": (REST, '"backup/start"'),
    r"curl .*/backup/list\S*": (REST, '"backup/list"'),
    r"curl .*/backup/chain\S*": (REST, '"backup/chain"'),
    r"curl .* -X DELETE \S+/backup/BACKUP_ID": (REST, "DELETE"),
    r"curl .*/backup/BACKUP_ID": (REST, '"backup/mine"'),
    r"curl .*/vms": (REST, '"vms"'),
    # Data
    r"qemu-img convert -f qcow2 -O raw \S+ disk-0\.raw": (
        "hack/demo/proof.py",
        '"convert", "-f", "qcow2", "-O", "raw"',
    ),
}
"""Where what the documentation says to type is run: command (whole, as a pattern), and the place."""


def _line(command: list[str]) -> str:
    return " ".join(command)


@pytest.mark.parametrize("page", TEXTS)
def test_each_command_is_run_somewhere(page: str) -> None:
    commands = [_line(command) for where, command in COMMANDS if where == page]
    assert [line for line in commands if not any(re.fullmatch(pattern, line) for pattern in RUN)] == []


@pytest.mark.parametrize("pattern", RUN)
def test_the_place_is_there_and_some_page_has_the_command(pattern: str) -> None:
    file, text = RUN[pattern]
    assert text in (CHECKOUT / file).read_text(encoding="utf-8"), file
    assert any(re.fullmatch(pattern, _line(command)) for _, command in COMMANDS)


@pytest.mark.parametrize("page", TEXTS)
def test_each_manifest_is_included_from_an_example(page: str) -> None:
    """The files are the ones that tests/unit/examples checks, and that an API server is given in tests/e2e."""
    for language, content in _blocks(TEXTS[page]):
        looks_like_one = re.search(r"^ *(apiVersion|kind|spec):", content, re.MULTILINE)
        assert language == "yaml" or not looks_like_one, content
        for line in content.split("\n") if language == "yaml" else ():
            included = re.fullmatch(r' *(?:--8<-- "(examples/[\w./-]+\.yaml)")?', line)
            assert included, f"not included from examples/: {line}"
            assert not included[1] or (CHECKOUT / included[1]).exists(), line


def test_each_example_is_shown_or_named() -> None:
    named = "".join(TEXTS.values()) + (CHECKOUT / "examples/README.md").read_text(encoding="utf-8")
    for file in sorted((CHECKOUT / "examples").rglob("*.yaml")):
        folder = Path(file).relative_to(CHECKOUT).parent.name
        assert f"examples/{folder}/{file.name}" in named or f"`{folder}/`" in named, file


LOGS: Final = TEXTS["docs/operations/logs.md"]


def _logged(log_format: LogFormat) -> str:
    """Return the page's record as it is written, and the REST API's audit and a warning after it."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    setup_logging("worker", "INFO", stream, log_format=log_format)
    try:
        with backup_context("backups", "pgtest1-full"):
            log = get_logger("sendense_operator.worker.vma_job.attempt")
            log.info("committed", manifest="backups/pgtest1/backups/pgtest1-full.json")
        get_logger("x").warning("failed", error="no answer")
        get_logger(AUDIT).info("request", audit="list")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return stream.getvalue()


def test_the_log_is_what_the_page_shows() -> None:
    (shown,) = [json.loads(content) for language, content in _blocks(LOGS) if language == "json"]
    written = json.loads(_logged("json").splitlines()[0])
    assert list(written) == list(shown)
    assert {**written, "time": shown["time"]} == shown
    (text,) = [content.strip() for language, content in _blocks(LOGS) if language == ""]
    _, _, after = text.partition(" ")
    assert _logged("text").splitlines()[0].endswith(after)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["time"])


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")
@pytest.mark.parametrize("command", [command for _, command in COMMANDS if command[0] == "jq"], ids=_line)
def test_filters_find_a_line(command: list[str]) -> None:
    text = f"sendense-catalogue 0 . eJw=\n{_logged('json')}"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout
    assert "sendense-catalogue" not in done.stdout
