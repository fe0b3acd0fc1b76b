"""Layers, manifests and what proves them: domain logic without any I/O."""
