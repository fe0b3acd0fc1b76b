"""Routes the VMA's callbacks to the worker of the running job. Keeps no state; runs in several replicas."""
