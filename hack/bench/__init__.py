"""Measures the product on the test cluster: `make bench`."""
