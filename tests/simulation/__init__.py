"""The whole workload loop, simulated: one master and up to 50 agents in virtual time.

Real are both sides as they are shipped: planner, desired state and sessions of the master; session,
supervisor, runners and disk of each agent. Only what lies between and below them is made here: the
network (`link`), the containers and their runtime (`node`), the store's engine (`master`). All
chance comes from one seed, so a schedule that failed can be seen again:
`./dev simulate --whole --seed N --verbose`. The pure core alone, far faster: `pure`.
"""
