"""Creation, export, verification and digests of QCOW2 layers, by the QEMU tools."""
