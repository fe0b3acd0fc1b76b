"""The program in the pod of one Job: it runs one backup, or one maintenance of a repository.

It imports neither kopf nor the Kubernetes client, because the pod has no token.
"""
