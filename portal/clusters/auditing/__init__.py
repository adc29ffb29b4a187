"""What a cluster itself recorded, proven; and the compliance modes that it holds to."""
