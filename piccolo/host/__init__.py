"""What this machine is like: facts for the readiness check, from /proc, sockets and programs.

Nothing here judges: that is `piccolo.core.readiness`. The agent does not import this room, its
memory is not for it.
"""
