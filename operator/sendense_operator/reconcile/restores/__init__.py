"""Restores: choosing the restore point, checking the targets, starting and following the worker."""
