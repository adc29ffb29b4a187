"""gRPC: the services of `aerolith.v1`, generated from `pb/aerolith.proto`."""
