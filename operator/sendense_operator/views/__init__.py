"""What objects of the API server say, for REST and the command line: pure, total, and without the servers."""
