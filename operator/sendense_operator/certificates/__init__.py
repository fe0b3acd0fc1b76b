"""An authority and the serving certificates that it issues: made, read and judged, without any I/O."""
