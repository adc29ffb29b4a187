"""Management commands of the one-command start."""
