"""Which file system a path lies on, by /proc/mounts. The rest is tested by tests/agent."""

from __future__ import annotations

import pytest

from piccolo.core.procfs import read_only

MOUNTS = """\
/dev/root / ext4 ro,relatime 0 0
/dev/data /var ext4 rw,nosuid 0 0
/dev/lib /var/lib ext4 ro 0 0
tmpfs /var/lib tmpfs rw 0 0
/dev/p /var/lib/piccolo ext4 nosuid,ro 0 0
none /errors tmpfs rw,errors=remount-ro 0 0
garbage
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/opt", True),
        ("/var", False),
        ("/variable", True),
        ("/var/lib/containers", False),  # what was mounted last
        ("/var/lib/piccolo", True),
        ("/var/lib/piccolo/pki", True),
        ("/errors", False),
    ],
)
def test_read_only(path: str, expected: bool) -> None:
    assert read_only(MOUNTS, path) is expected


def test_without_a_table_nothing_is_read_only() -> None:
    assert not read_only("", "/")
