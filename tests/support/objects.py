"""The type of what the tests read and write as JSON or YAML."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]
"""An object of the API server or of a REST answer: nested, of any fields."""
