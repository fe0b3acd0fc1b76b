"""The VMA behind one client, and the rules of its callbacks as pure functions.

No I/O besides HTTP to the appliance. Nothing here knows Kubernetes.
"""
