"""What the Jobs that work on a chain have in common: their turn in the repository, their start, their end."""
