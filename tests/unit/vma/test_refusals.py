import pytest

from sendense_operator.vma.refusals import reason_of_refusal

PATH = "/DC1/vm/pgtest1"


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("ServerFaultCode: Cannot complete login due to an incorrect user name or password.", PATH, "VCenterRefused"),
        ("Permission to perform this operation was denied", PATH, "VCenterRefused"),
        ('Post "https://vc/sdk": dial tcp 10.0.0.1:443: connect: connection refused', PATH, "VCenterUnreachable"),
        ("dial tcp: lookup vc on 10.96.0.10:53: no such host", PATH, "VCenterUnreachable"),
        ("x509: certificate signed by unknown authority", PATH, "VCenterUnreachable"),
        (f"vm '{PATH}' not found", PATH, "VMNotFound"),
        ("vm '/DC1/vm/cannot complete login' not found", "/DC1/vm/cannot complete login", "VMNotFound"),
        ("injected fault", PATH, None),
        ("Internal server error", PATH, None),
        ("", PATH, None),
    ],
)
def test_the_words_of_vcenter(text: str, path: str, reason: str | None) -> None:
    assert reason_of_refusal(text, path) == reason
