"""API Server (LLD 2): the master's gRPC services, one for agents and one for clients."""
