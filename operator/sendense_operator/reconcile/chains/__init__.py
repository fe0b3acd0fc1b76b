"""BackupChains: their status, and the freeing of layers that no restore point needs."""
