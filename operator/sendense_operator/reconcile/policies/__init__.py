"""BackupPolicy: which VMs, which slots, which Backups to create."""
