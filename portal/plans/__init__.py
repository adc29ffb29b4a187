"""The catalogue: plans, regions, prices, and what a cluster size can survive."""
