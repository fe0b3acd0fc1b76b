"""Each command and manifest of the documentation is run by a test or by the demo, or included from a file that is."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest
from tests.support.documentation import (
    COMMANDS,
    TEXTS,
    blocks,
    changes_the_installation,
    line_of,
    needs_only_objects,
)
from tests.support.kube import CHECKOUT
from tests.support.logging_setup import configured_logging

from sendense_operator.logs import AUDIT, LogFormat, backup_context, get_logger

Where = tuple[str, str]
"""A file, and a text in it that does what the command does."""

QUICKSTART: Final = "tests/e2e/test_quickstart.py"
VERIFICATION: Final = "tests/e2e/test_verification.py"
POLICIES: Final = "tests/e2e/test_policies.py"
REST: Final = "tests/e2e/test_rest.py"
RESTORES: Final = "tests/e2e/test_exports.py"
RELEASE: Final = "hack/devcluster/release.py"
CALLER: Final = "tests/support/rest.py"
CATALOGUE: Final = "tests/e2e/test_catalogue.py"
CHART: Final = "tests/unit/chart"

RUN: Final[dict[str, Where]] = {
    r"make demo": ("Makefile", "hack/demo"),
    r"make bench PARTS=many": ("tests/unit/hack/test_manypoints.py", "manypoints.controller("),
    r"helm uninstall sendense-backup .*": (CATALOGUE, '"helm", "uninstall", chart.RELEASE'),
    r"kubectl delete -f crds/": (CATALOGUE, '"delete", "-f", str(CHECKOUT / "crds")'),
    # Resources
    r"kubectl apply -f examples/quickstart": (QUICKSTART, 'FOLDER = CHECKOUT / "examples" / "quickstart"'),
    r"kubectl apply -f examples/[a-z]+/[a-z-]+\.yaml": (QUICKSTART, "def test_every_other_example_is_accepted("),
    r"kubectl wait -n backups backup/\S+ --for=condition=Ready .*": (QUICKSTART, '"kubectl wait -n backups backup/'),
    # Logs
    r"kubectl logs -n backups -l backup\.sendense\.io/backup=\S+ --tail=-1": (
        QUICKSTART,
        '"kubectl logs -n backups -l ',
    ),
    r"jq -r?R .*fromjson.*": ("tests/unit/docs/test_commands_are_run.py", "def test_the_log_is_what_the_page_shows("),
    # REST
    r"base64 -d .*": (CALLER, "base64.b64decode("),
    r"kubectl port-forward -n sendense-system svc/sendense-backup-api 8443:443": (CALLER, "programs.forwarded("),
    r"kubectl create serviceaccount -n backups me": (CALLER, '"create", "serviceaccount"'),
    r"kubectl create rolebinding -n backups me --clusterrole=edit .*": (CALLER, "--clusterrole={role}"),
    r"(api|auth)=.*": (CALLER, '"create", "token"'),
    r"curl .*/openapi\.json": (REST, "/openapi.json"),
    r"curl .*/backup/start .*": (REST, '"backup/start"'),
    r"curl .*/backup/list\S*": (REST, '"backup/list"'),
    r"curl .*/backup/chain\S*": (REST, '"backup/chain"'),
    r"curl .*/backup/consolidate .*": ("tests/unit/gateway/rest/test_routes.py", "/consolidate"),
    r"curl .* -X DELETE \S+/backup/BACKUP_ID": (REST, "DELETE"),
    r"curl .*/backup/BACKUP_ID": (REST, '"backup/mine"'),
    r"curl .*/vms": (REST, '"vms"'),
    r"curl .*/restore/start .*backup_id.*": (REST, '"restore/start"'),
    r"curl .*/restore/start .*verify_only.*": (REST, '"verify_only": True'),
    r"curl .*/restore/list\S*": (REST, '"restore/list"'),
    r"curl .* -X DELETE \S+/restore/RESTORE_ID": (REST, "DELETE"),
    r"curl .*/restore/RESTORE_ID": (REST, '"restore/back"'),
    # Command line
    r"pip install sendense-backup\[cli\]": ("tests/unit/cli/test_packages.py", "def installed_with("),
    r"sendense --install-completion": ("tests/unit/cli/test_name_completion.py", '"complete_bash"'),
    # Data
    r"qemu-img convert -f qcow2 -O raw \S+ disk-0\.raw": (
        "hack/demo/proof.py",
        '"convert", "-f", "qcow2", "-O", "raw"',
    ),
    r"(nbdinfo|nbdcopy) \$uri\?tls-psk-file=.*": (RESTORES, 'documented(f"{start} "'),
    r"qemu-img convert -O raw --object tls-creds-psk,.*": (RESTORES, '"qemu-img convert -O raw --object"'),
}
"""Where what the documentation says to type is run: command (whole, as a pattern), and the place.

tests/e2e/test_documented_commands.py takes its commands from the documentation: they are not listed here.
"""

EFFECTS: Final[dict[str, Where]] = {
    r"helm install \S+ charts/sendense-backup .*image\.tag=.*": (RELEASE, '"upgrade", "--install", RELEASE, _CHART'),
    r"helm install \S+ charts/sendense-backup .*crds\.install=false": (
        f"{CHART}/test_metadata.py",
        '{"crds": {"install": False}}',
    ),
    r"helm upgrade \S+ charts/sendense-backup .*image\.tag=.*": (RELEASE, '"upgrade", "--install", RELEASE, _CHART'),
    r"helm upgrade \S+ charts/sendense-backup .*gateway\.service\.nodePort=.*": (
        f"{CHART}/test_services.py",
        '"nodePort": 30882',
    ),
    r"helm upgrade \S+ charts/sendense-backup .*networkPolicy\.metricsFrom.*": (
        f"{CHART}/test_network_policies.py",
        '"metricsFrom": ',
    ),
    r"kubectl apply --server-side -f crds/": ("tests/apiserver/test_kubectl.py", "test_the_cluster_serves_what_the"),
    r'kubectl patch backup .*\{"spec":\{"cancel":true\}\}': (
        "tests/e2e/test_stopping.py",
        '{"spec": {"cancel": True}}',
    ),
    r'kubectl patch bchain .*"parentCheck":"Structure".*': (
        "tests/apiserver/test_rejections.py",
        '(CHAIN, "spec.parentCheck", "Structure")',
    ),
    r'kubectl patch bchain .*"compaction":"Auto".*': (
        "tests/apiserver/test_rejections.py",
        '(CHAIN, "spec.compaction", "Auto")',
    ),
    r'kubectl patch bchain .*"consolidation":\{"window":.*': (
        "tests/wiring/test_consolidation.py",
        'edit(rig, window={"start": ',
    ),
    r'kubectl patch bchain .*"consolidation":\{"mode":"Manual".*': (
        "tests/wiring/test_consolidation.py",
        'edit(rig, mode="Manual")',
    ),
    r"kubectl patch vma .*acceptFormerPaths.*": ("tests/unit/gateway/test_caller_check.py", "acceptFormerPaths"),
    r"kubectl annotate brepo main .*backup\.sendense\.io/scan=.*": (
        "tests/support/workspace.py",
        '{"backup.sendense.io/scan": request}',
    ),
    r"kubectl label protectedvm pgtest1 -n backups backup=gold": (POLICIES, 'label(space, name, "gold")'),
    r"kubectl annotate backuppolicy nightly .*backup\.sendense\.io/run=.*": (POLICIES, "names.ANNOTATION_RUN: "),
    r"kubectl annotate backup pgtest1-full .*backup\.sendense\.io/verify=.*": (
        VERIFICATION,
        'kube.merge("Backup", "full"',
    ),
    r"kubectl annotate backupchain NAME .*backup\.sendense\.io/verify=.*": (
        VERIFICATION,
        'kube.merge("BackupChain", name',
    ),
    r"kubectl annotate backupchain NAME .*backup\.sendense\.io/consolidate=.*": (
        "tests/wiring/test_consolidation.py",
        "names.ANNOTATION_CONSOLIDATE: value",
    ),
    r"kubectl delete backup -n backups \S+": ("tests/e2e/test_catalogue.py", 'kube.delete("Backup", "incr"'),
}
"""Of what changes something and is only run against objects: where its effect is tested."""
_READS: Final = ("describe", "explain", "get", "logs")


def _matches(patterns: Iterable[str], command: list[str]) -> bool:
    return any(re.fullmatch(pattern, line_of(command)) for pattern in patterns)


def _is_run_as_it_stands(command: list[str]) -> bool:
    return needs_only_objects(command) or changes_the_installation(command)


@pytest.mark.parametrize("page", TEXTS)
def test_each_command_is_run_somewhere(page: str) -> None:
    commands = [command for where, command in COMMANDS if where == page]
    others = [command for command in commands if not _is_run_as_it_stands(command)]
    assert [line_of(command) for command in others if not _matches(RUN, command)] == []
    changes = [command for command in commands if _is_run_as_it_stands(command) and command[1] not in _READS]
    assert [line_of(command) for command in changes if not _matches(EFFECTS, command)] == []


@pytest.mark.parametrize("pattern", RUN | EFFECTS)
def test_the_place_is_there_and_some_page_has_the_command(pattern: str) -> None:
    file, text = (RUN | EFFECTS)[pattern]
    assert text in (CHECKOUT / file).read_text(encoding="utf-8"), file
    assert any(_matches([pattern], command) for _, command in COMMANDS)


@pytest.mark.parametrize("page", TEXTS)
def test_each_manifest_is_included_from_an_example(page: str) -> None:
    """The files are the ones that tests/unit/examples checks, and that an API server is given in tests/e2e."""
    for language, content in blocks(TEXTS[page]):
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
    stream = io.StringIO()
    with configured_logging("worker", "INFO", stream, log_format):
        with backup_context("backups", "pgtest1-full"):
            log = get_logger("sendense_operator.worker.vma_job.attempt")
            log.info("committed", manifest="backups/pgtest1/backups/pgtest1-full.json")
        get_logger("x").warning("failed", error="no answer")
        get_logger(AUDIT).info("request", audit="list")
    return stream.getvalue()


def test_the_log_is_what_the_page_shows() -> None:
    (shown,) = [json.loads(content) for language, content in blocks(LOGS) if language == "json"]
    written = json.loads(_logged("json").splitlines()[0])
    assert list(written) == list(shown)
    assert {**written, "time": shown["time"]} == shown
    (text,) = [content.strip() for language, content in blocks(LOGS) if language == ""]
    _, _, after = text.partition(" ")
    assert _logged("text").splitlines()[0].endswith(after)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["time"])


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")
@pytest.mark.parametrize("command", [command for _, command in COMMANDS if command[0] == "jq"], ids=line_of)
def test_filters_find_aline_of(command: list[str]) -> None:
    text = f"sendense-catalogue 0 . eJw=\n{_logged('json')}"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout
    assert "sendense-catalogue" not in done.stdout
