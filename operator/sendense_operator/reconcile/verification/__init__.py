"""Verification of restore points: when it is due, the pod that does it, and what its result changes."""
