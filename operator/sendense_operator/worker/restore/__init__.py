"""Restore of a restore point into claims, or its verification for a Restore."""
