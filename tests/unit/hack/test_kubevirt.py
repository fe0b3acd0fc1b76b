"""Reading KubeVirt's schema out of its Go source."""

from __future__ import annotations

import pytest
import yaml
from hack.devcluster.kubevirt import schema_of
from hack.devcluster.shell import SetupError

SOURCE = """package components

var CRDsValidation map[string]string = map[string]string{
\t"virtualmachine": `openAPIV3Schema:
  type: object
  description: |-
    two

    lines
`,
\t"virtualmachineinstance": `openAPIV3Schema:
  type: string
`,
}
"""


def test_the_schema_of_one_kind() -> None:
    found = yaml.safe_load("schema:\n" + schema_of(SOURCE, "virtualmachine"))
    assert found == {"schema": {"openAPIV3Schema": {"type": "object", "description": "two\n\nlines"}}}


@pytest.mark.parametrize("source", ["", '"virtualmachine": `openAPIV3Schema:', '"virtualmachine": `other: 1`'])
def test_a_source_of_another_form(source: str) -> None:
    with pytest.raises(SetupError, match="no schema of virtualmachine"):
        schema_of(source, "virtualmachine")
