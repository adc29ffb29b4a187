"""The node process: composition root, metrics, usage."""
