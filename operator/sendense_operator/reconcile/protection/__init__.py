"""Which policy rules a VM's backups to a repository: what policies and chains both need to know."""
