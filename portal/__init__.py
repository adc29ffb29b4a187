"""The portal: organizations, clusters, usage and money."""
