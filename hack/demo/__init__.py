"""`make demo`: one VM backed up on the local cluster, and the proof that the copy is the same."""
