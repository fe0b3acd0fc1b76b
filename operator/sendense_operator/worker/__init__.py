"""What runs in the pod of one Job: one backup, or one check of a repository.

Neither kopf nor the Kubernetes client is imported here: the pod has no token.
"""
