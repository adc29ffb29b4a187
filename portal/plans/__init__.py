"""The catalogue: plans, their limits and prices, regions, and what a cluster size survives."""
