"""GraphQL: the service layer as a typed graph, over HTTP and over graphql-transport-ws."""
