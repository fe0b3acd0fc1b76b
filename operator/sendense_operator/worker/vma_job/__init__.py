"""One attempt to copy a VM: the VMA's job and everything that decides whether its result is committed."""
