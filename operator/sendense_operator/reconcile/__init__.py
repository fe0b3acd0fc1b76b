"""Observe, decide, act: one idempotent reconcile a kind. Decisions are pure functions of what was observed."""
