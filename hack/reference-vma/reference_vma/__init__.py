"""A reference of the appliance that the operator talks to: see README.md beside this package.

The modules that the client process imports use the standard library and `nbd` alone, since Debian's `nbd` module
belongs to the system's interpreter; only `exports` imports `nbd`, and only the client imports `exports`.
"""
