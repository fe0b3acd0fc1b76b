"""Everything that talks to the Kubernetes API: the only package that imports the Kubernetes client."""
