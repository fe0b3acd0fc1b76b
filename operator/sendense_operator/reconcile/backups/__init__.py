"""Backups: from the start queue over the running worker to the end, and their adoption from a catalogue."""
