"""The name of a module says where something is: two modules of one name would not."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

OPERATOR = Path(__file__).resolve().parents[2] / "operator" / "sendense_operator"
SHARED = {"__init__", "__main__", "main", "errors", "settings"}


def test_no_module_name_is_used_twice() -> None:
    places = defaultdict(list)
    for path in OPERATOR.rglob("*.py"):
        places[path.stem].append(str(path.relative_to(OPERATOR)))
    assert len(places) > 200, "they are found"
    assert {name: where for name, where in places.items() if len(where) > 1 and name not in SHARED} == {}
