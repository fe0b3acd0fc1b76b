"""Consolidation of chains: when layers are merged, the pod that does it, and what its result changes."""
