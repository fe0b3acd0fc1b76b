"""What every reconcile shares: context, settings, hints in memory, records, and how Kubernetes' objects are read."""
