"""The controller's metrics: what its objects are like, computed at each scrape, and what its process did."""
