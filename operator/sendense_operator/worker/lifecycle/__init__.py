"""What every kind of task needs while it runs: requests to stop, and the HTTP server of the status port."""
