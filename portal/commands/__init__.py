"""One-command start: supervisor, embedded services, demonstration."""
