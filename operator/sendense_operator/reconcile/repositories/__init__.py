"""BackupRepositories: claims, maintenance Jobs and catalogue scans."""
