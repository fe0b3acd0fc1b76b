"""What a repository's catalogue means for the Backups of this cluster: ownership, decisions, removal."""
