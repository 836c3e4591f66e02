"""Where the executable that PyInstaller makes begins; see packaging/piccolo.spec.

It has no interpreter that others could start, so it plays one for the only such call there is:
`piccolo.roles.handover.become` starts the lean agent by `sys.executable -P -m piccolo.roles.agent`.
Nothing else may be imported on that way: memory is what the exec is for.
"""

from __future__ import annotations

import os
import sys

# The dynamic loader has read it. What this program starts shall load the system's libraries, not
# those that it brought; only itself it starts with them, see `become`.
before = os.environ.pop("LD_LIBRARY_PATH_ORIG", "")
os.environ.pop("LD_LIBRARY_PATH", None)
if before:
    os.environ["LD_LIBRARY_PATH"] = before

if sys.argv[1:4] == ["-P", "-m", "piccolo.roles.agent"]:
    del sys.argv[1:4]
    from piccolo.roles.agent import main
else:
    from piccolo.cli.program import main

main()
