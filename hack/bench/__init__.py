"""Benchmarks on the test cluster: ratios within one run, since absolute times mean little on shared machines."""
