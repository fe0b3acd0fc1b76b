"""The type of objects as the API server sends and takes them."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]
"""A Kubernetes object as decoded JSON: `apiVersion`, `kind`, `metadata`, `spec`, `status`."""
