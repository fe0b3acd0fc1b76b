"""QCOW2 images and their NBD exports: created, served, checked and digested."""
