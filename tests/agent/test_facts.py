"""Facts from invented file systems, and from this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piccolo import __version__
from piccolo.agent.facts import read_facts
from piccolo.core.model import Facts

FILES = {
    "etc/os-release": 'NAME="Yocto"\nVERSION_ID=4.0\nPRETTY_NAME="Poky (Yocto Project) 4.0"\n',
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "proc/sys/kernel/osrelease": "6.1.21-v8+\n",
    "proc/sys/kernel/random/boot_id": "7165d27d-776f-41f3-83b8-d0d6035c6f32\n",
    "proc/meminfo": "MemTotal:         948304 kB\nMemFree: 1 kB\n",
    "proc/stat": "cpu  1 2 3 4\ncpu0 1 2 3 4\ncpu1 1 2 3 4\ncpu2 1 2 3 4\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_a_machine(root: Path) -> None:
    facts, resources = read_facts(root, root)
    assert facts == Facts(
        os="Poky (Yocto Project) 4.0",
        architecture=os.uname().machine,
        kernel="6.1.21-v8+",
        agent_version=__version__,
        machine_id="0123456789abcdef0123456789abcdef",
        boot_id="7165d27d-776f-41f3-83b8-d0d6035c6f32",
    )
    assert (resources.cpu_cores, resources.memory_mb) == (3, 926)
    disk = os.statvfs(root)
    assert resources.disk_gb == round(disk.f_blocks * disk.f_frsize / 2**30)


def test_this_machine(tmp_path: Path) -> None:
    facts, resources = read_facts(tmp_path)
    assert facts.os
    assert facts.kernel == os.uname().release
    assert len(facts.boot_id) == 36
    assert resources.cpu_cores == os.cpu_count()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert resources.memory_mb == pytest.approx(pages / 2**20, rel=0.01)


def test_an_empty_file_system(tmp_path: Path) -> None:
    facts, resources = read_facts(tmp_path / "missing", tmp_path)
    assert facts == Facts(architecture=os.uname().machine, agent_version=__version__)
    assert (resources.cpu_cores, resources.memory_mb, resources.disk_gb) == (os.cpu_count(), 0, 0)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("PRETTY_NAME=Alpine", "Alpine"),
        ("PRETTY_NAME='It is \"it\"'", 'It is "it"'),
        (r'PRETTY_NAME="a \"b\" \$c \\d"', 'a "b" $c \\d'),
        ('# PRETTY_NAME="no"\n\nNAME="Buildroot"\nVERSION_ID=2024.02', "Buildroot 2024.02"),
        ("NAME=Linux", "Linux"),
        ('PRETTY_NAME=""\nNAME=x', "x"),
        ("PRETTY_NAME", ""),
        ('PRETTY_NAME="', '"'),
        ("", ""),
    ],
)
def test_the_name_of_the_system(root: Path, text: str, name: str) -> None:
    (root / "etc/os-release").write_text(text)
    assert read_facts(root, root)[0].os == name


def test_os_release_where_the_vendor_puts_it(root: Path) -> None:
    (root / "etc/os-release").unlink()
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/os-release").write_text('PRETTY_NAME="Vendor"')
    assert read_facts(root, root)[0].os == "Vendor"


@pytest.mark.parametrize("text", ["uninitialized\n", "", "0123", "x" * 32])
def test_an_image_that_never_booted_has_no_machine_id(root: Path, text: str) -> None:
    (root / "etc/machine-id").write_text(text)
    assert read_facts(root, root)[0].machine_id == ""
    (root / "var/lib/dbus").mkdir(parents=True)
    (root / "var/lib/dbus/machine-id").write_text("f" * 32 + "\n")
    assert read_facts(root, root)[0].machine_id == "f" * 32


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(FILES)), st.binary(max_size=60))
def test_garbage_is_never_more_than_wrong(root: Path, name: str, content: bytes) -> None:
    (root / name).write_bytes(content)
    facts, resources = read_facts(root, root)
    for text in (facts.os, facts.kernel, facts.machine_id, facts.boot_id):
        text.encode()
    assert 0 <= resources.memory_mb < 2**63
    assert resources.cpu_cores > 0
