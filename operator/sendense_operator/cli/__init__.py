"""`kubectl sendense`: the command line, which speaks to the API server with its user's rights and to nothing else."""
