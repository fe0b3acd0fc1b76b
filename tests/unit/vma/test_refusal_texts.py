import pytest

from sendense_operator.vma.refusal_texts import reason_of_refusal

PATH = "/DC1/vm/pgtest1"


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("ServerFaultCode: Cannot complete login due to an incorrect user name or password.", PATH, "VCenterRefused"),
        ("Permission to perform this operation was denied", PATH, "VCenterRefused"),
        ("ServerFaultCode: Login failure", PATH, "VCenterRefused"),
        (f"Failed to get CBT status of {PATH}: vCenter: ServerFaultCode: Login failure", PATH, "VCenterRefused"),
        ("Failed to discover VMs: failed to connect to vCenter: Login failed", "", "VCenterRefused"),
        ("failed to log in to vCenter: ServerFaultCode: InvalidLogin", PATH, "VCenterRefused"),
        ("govmomi: could not authenticate: invalid credentials", PATH, "VCenterRefused"),
        ("ServerFaultCode: Permission to perform this operation was denied. NoPermission", PATH, "VCenterRefused"),
        ("401 Unauthorized", PATH, "VCenterRefused"),
        ("The user account is locked.", PATH, "VCenterRefused"),
        ("login to vCenter failed: dial tcp 10.0.0.1:443: connect: connection refused", PATH, "VCenterUnreachable"),
        (
            "failed to login: read tcp 10.0.0.2:5->10.0.0.1:443: read: connection reset by peer",
            PATH,
            "VCenterUnreachable",
        ),
        ('Post "https://vc/sdk": EOF', PATH, "VCenterUnreachable"),
        ('Post "https://vc/sdk": 503 Service Unavailable', PATH, "VCenterUnreachable"),
        ('Post "https://vc/sdk": net/http: TLS handshake timeout', PATH, "VCenterUnreachable"),
        ("Unable to access file since it is locked", PATH, None),
        ('Post "https://vc/sdk": dial tcp 10.0.0.1:443: connect: connection refused', PATH, "VCenterUnreachable"),
        ("dial tcp: lookup vc on 10.96.0.10:53: no such host", PATH, "VCenterUnreachable"),
        ("x509: certificate signed by unknown authority", PATH, "VCenterUnreachable"),
        (f"vm '{PATH}' not found", PATH, "VMNotFound"),
        ("vm '/DC1/vm/cannot complete login' not found", "/DC1/vm/cannot complete login", "VMNotFound"),
        (f"failed to find VM: vm '{PATH}' not found", PATH, "VMNotFound"),
        (f"VM not found: {PATH}", PATH, "VMNotFound"),
        (f"VM {PATH} not found", PATH, "VMNotFound"),
        (f'virtual machine "{PATH}" does not exist', PATH, "VMNotFound"),
        (f"no such VM: {PATH}", PATH, "VMNotFound"),
        ("vm '/DC1/vm/bob's' not found", "/DC1/vm/bob's", "VMNotFound"),
        ("vm '/DC1/vm/ (a word that was scrubbed)' not found", PATH, "VMNotFound"),
        ("datacenter 'Nowhere' not found", "", "VMNotFound"),
        ("404 page not found", PATH, None),
        (f"failed to find VM {PATH}: 404 Not Found", PATH, None),
        (f"GET /api/v1/vms{PATH}/cbt-status: 404 page not found", PATH, None),
        ("<html><head><title>404 Not Found</title></head></html>", PATH, None),
        ('{"detail":"Not Found"}', PATH, None),
        ('looking for the VM: exec: "govc": executable file not found in $PATH', PATH, None),
        (f"vm '{PATH}': exec 'govc' not found", PATH, None),
        (f"open /var/lib/vma{PATH}.json: file does not exist", PATH, None),
        ("injected fault", PATH, None),
        ("Internal server error", PATH, None),
        ("", PATH, None),
    ],
)
def test_the_words_of_vcenter(text: str, path: str, reason: str | None) -> None:
    assert reason_of_refusal(text, path) == reason
