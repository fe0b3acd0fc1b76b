"""What keeps GitOps controllers from removing what the operator creates."""

from __future__ import annotations

from typing import Final

KEPT_FROM_PRUNING: Final = {
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "argocd.argoproj.io/sync-options": "Prune=false",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}
"""Annotations of what outlives the object that it was created for: it is in no tree, but must stay."""
