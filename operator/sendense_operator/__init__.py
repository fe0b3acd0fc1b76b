"""Kubernetes operator that backs up VMware VMs as chains of QCOW2 images."""
