"""Domain logic of chains without I/O: layers, manifests, parents, integrity, damage, freeing."""
