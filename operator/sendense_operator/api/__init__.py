"""The Kubernetes API of the operator: one sub-package a version."""
