"""Consolidation of a chain: layers that no restore point needs apart become one."""
