"""The commands' own options; each imports what it does only when it is run."""
