"""Money: rating of metered quantities, the running month and its forecast."""
