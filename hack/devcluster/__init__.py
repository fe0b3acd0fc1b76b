"""The developer's cluster: an engine, a kind cluster of three nodes, the project's images. Standard library only."""
