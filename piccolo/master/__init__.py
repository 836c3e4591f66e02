"""The master's components, by the names of the design (LLD 1.2, 3.3):

* `api_server`: the gRPC services, for agents and for clients
* `state_manager`: the cluster's state, durable and live, and its changes
* `monitoring_server`: judges links, watches resources, keeps heartbeats
* `node_manager`: registers nodes and moves them through their states
* `action_controller`: has workloads planned, and carries the plans out
* `desired_state`: tells agents what is to run on their nodes
* `sessions`: the connections of the agents, their generations and keys
"""
