"""The cluster on a machine without a container engine: an engine and nodes from Debian packages and Go modules."""
