"""The site of the staff."""
