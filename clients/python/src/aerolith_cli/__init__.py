"""The command line `aerolith`: clusters by the portal's API, documents by the nodes' own."""
