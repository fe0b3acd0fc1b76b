"""VMwareAppliances and ProtectedVMs: the connection to a VMA, VM lookup and discovery."""
