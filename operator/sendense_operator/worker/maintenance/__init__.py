"""Maintenance of a repository: probe, scan, freeing and quarantine."""
