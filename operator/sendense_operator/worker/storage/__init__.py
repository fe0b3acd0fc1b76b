"""Files of a repository: durable writes, locks, the commit of a restore point, tombstones, quarantine."""
