"""Monitoring: the collector of live figures, their history, and the live channels."""
