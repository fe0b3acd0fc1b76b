"""Verification of committed restore points: their structure, and their content against the digests."""
