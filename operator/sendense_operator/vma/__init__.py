"""The client of the VMA's HTTP API, and the rules of the VMA's callbacks.

There is no I/O except HTTP to the appliance, and nothing depends on Kubernetes.
"""
