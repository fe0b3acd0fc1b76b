"""The controller's program: the only package that imports kopf. Watches objects and feeds the work queue."""
