"""The REST endpoints for people, scripts and a GUI, over the resources. On a listener of its own; keeps no state."""
