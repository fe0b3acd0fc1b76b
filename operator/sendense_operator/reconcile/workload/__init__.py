"""The pods and Jobs that work with a repository: how they are built, what they may use, and how they ended."""
