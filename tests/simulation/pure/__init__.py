"""The pure core, simulated: thousands of schedules in a minute, with 1 to 50 agents each.

No asyncio, no wire, no disk: one heap of events in virtual time (`clock`). Real are the parts that
decide: planner, placement and rollouts, what a feed tells an agent, drafts of what people ask, the
state machine of each instance, dependencies, the judge of links, the pace of pulses, the table of
node states. Made here is what carries out and carries over: the master and its store (`master`,
`record`), agents and their disks (`agent`, `slots`), containers (`runtime`), the network
(`network`). Each may be killed between any two actions. The real shells, with their tasks, are
simulated one floor above, in `tests.simulation`.
"""
