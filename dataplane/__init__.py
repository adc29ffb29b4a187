"""The data plane: a document database replicated by PBFT."""
