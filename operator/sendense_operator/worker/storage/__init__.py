"""A repository's files: durable writes, locks, the commit of a restore point, tombstones, quarantine."""
