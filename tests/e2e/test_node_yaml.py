"""`node.yaml`: who is let in, what changes when it is reread, and how a bad one is refused."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.asking import eventually, node, nodes
from tests.lab.cluster import PORT, LoopbackLab
from tests.lab.process import Proc

pytestmark = pytest.mark.slow

LISTED = """\
discovery: {discovery}
nodes:
  - {{name: listed, ip: 127.0.0.1, labels: {{hall: a}}}}
"""
RECENT = 3.0  # s in which the master has reread its file, and all it leads to has happened


class Cluster:
    """A master with a file, and three agents: one that is listed, one that is not, one in the
    cloud."""

    def __init__(self, lab: LoopbackLab) -> None:
        self.lab = lab

    def start(self, discovery: str) -> None:
        """A new one; what was before is gone."""
        self.lab.start_master(config=LISTED.format(discovery=discovery))
        for name in self.lab.names:
            self.lab.start_agent(name, "--type", "cloud" if name == "cloud" else "embedded")
        eventually(lambda: set(nodes(self.lab)) == set(self.lab.names), 10)

    def reread(self, text: str) -> str:
        """Give the master a new file; returns what it said while it reread it."""
        master = self.lab.master_proc
        assert master is not None
        before = len(master.output())
        (self.lab.master.dir / "node.yaml").write_text(text)
        master.kill(signal.SIGHUP)
        done = ("the configuration was reread", "was not reread")
        eventually(lambda: any(words in master.output()[before:] for words in done), RECENT)
        time.sleep(0.1)  # it says last what takes a restart
        return master.output()[before:]

    def wait(self, statuses: dict[str, str]) -> None:
        eventually(lambda: self.statuses() == statuses, RECENT)

    def statuses(self) -> dict[str, str]:
        return {name: found["status"] for name, found in nodes(self.lab).items()}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with LoopbackLab(["listed", "unlisted", "cloud"]) as lab:
        made = Cluster(lab)
        made.start("cloud")
        yield made


def test_each_policy_lets_in_more() -> None:
    with LoopbackLab(["listed", "unlisted", "cloud"]) as lab:
        cluster = Cluster(lab)
        cluster.start("listed")
        let_in: set[str] = set()
        for discovery, name in (("listed", "listed"), ("cloud", "cloud"), ("any", "unlisted")):
            if let_in:
                cluster.reread(LISTED.format(discovery=discovery))
            let_in.add(name)
            cluster.wait({name: "Ready" if name in let_in else "Pending" for name in lab.names})


def test_an_unlisted_node_waits_until_it_is_approved(cluster: Cluster) -> None:
    lab = cluster.lab
    eventually(lambda: node(lab, "listed")["status"] == "Ready", 5)
    waiting = node(lab, "unlisted")
    assert (waiting["status"], waiting["reason"]) == ("Pending", "NotListed")
    assert "piccolo approve unlisted" in waiting["message"]
    assert "piccolo approve unlisted" in lab.agents["unlisted"].output()
    assert lab.piccolo("approve", "listed", check=False).returncode == 5

    agent = lab.agents["unlisted"]
    lab.piccolo("approve", "unlisted")
    eventually(lambda: node(lab, "unlisted")["status"] == "Ready", 2)
    assert agent.alive
    assert node(lab, "unlisted")["generation"] == waiting["generation"]  # the same session
    lab.piccolo("remove", "node", "unlisted")
    assert agent.wait(3) == 0


def test_what_stands_in_the_file_holds(cluster: Cluster) -> None:
    eventually(lambda: node(cluster.lab, "listed")["labels"] == {"hall": "a"}, 2)


def test_rereading_lets_in_labels_and_changes_the_link(cluster: Cluster) -> None:
    lab = cluster.lab
    lab.start_agent("unlisted")
    eventually(lambda: cluster.statuses().get("unlisted") == "Pending", 5)
    said = cluster.reread(
        "nodes:\n"
        "  - {name: listed, ip: 127.0.0.1, labels: {hall: b}, link: wireless}\n"
        "  - {name: unlisted, ip: 127.0.0.2, labels: {new: 'yes'}}\n"
    )
    assert "restart" not in said
    eventually(lambda: node(lab, "unlisted")["status"] == "Ready", RECENT)
    assert node(lab, "unlisted")["labels"] == {"new": "yes"}
    changed = node(lab, "listed")
    assert changed["labels"] == {"hall": "b"}
    assert changed["link"]["profile"] == "wireless"
    lab.agents["listed"].wait_for_output("link wireless", RECENT)
    assert changed["status"] == "Ready"


def test_a_broken_file_changes_nothing(cluster: Cluster) -> None:
    before = nodes(cluster.lab)
    said = cluster.reread("nodes:\n  - {name: listed, ip: nonsense}\n")
    assert "the configuration was not reread, the old one holds" in said
    assert "node.yaml:2:" in said
    assert "Traceback" not in said
    after = nodes(cluster.lab)
    assert {n: (d["labels"], d["link"]["profile"], d["status"]) for n, d in after.items()} == {
        n: (d["labels"], d["link"]["profile"], d["status"]) for n, d in before.items()
    }


def test_a_node_that_is_listed_no_more_stays(cluster: Cluster) -> None:
    said = cluster.reread("nodes: []\n")
    assert "restart the master" not in said
    assert node(cluster.lab, "listed")["status"] == "Ready"


def test_what_takes_a_restart_is_named() -> None:
    with LoopbackLab(0) as lab:
        file = lab.master.dir / "node.yaml"
        text = f"listen: {{listen}}\ndata_dir: {lab.master.dir / 'data'}\n"
        file.write_text(text.format(listen=lab.address))
        argv = [str(lab.program), "master", "--config", str(file)]
        lab.master_proc = Proc(lab.site, lab.master, "master", argv)
        lab.wait_listening(lab.master_proc, PORT)
        said = Cluster(lab).reread(text.format(listen=f"{lab.master.ip}:50099"))
        assert "restart the master for what changed in: listen\n" in said
        assert nodes(lab) == {}  # it listens where it did


BAD = {
    "unknown key": ("listn: 127.0.0.1\n", ":1:1: ", 'did you mean "listen"'),
    "a name twice": (
        "nodes:\n- {name: a, ip: 10.0.0.1}\n- {name: a, ip: 10.0.0.2}\n",
        ":3:4: ",
        '"a" is the name of another node',
    ),
    "an address twice": (
        "nodes:\n- {name: a, ip: 10.0.0.1}\n- {name: b, ip: 10.0.0.1}\n",
        ":3:13: ",
        '"10.0.0.1" is the ip of another node',
    ),
    "a tab": ("cluster:\n\tname: x\n", ":2:1: ", "tab"),
    "10 MB": ("# much\n" * 1_500_000, ": ", "at most 1 MiB"),
    "a heartbeat of 4 s": ("heartbeat:\n  interval: 4\n", ":2:", "below the minimum of 5 s"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str, int]]:
    """For each bad file: where it is, what the master said, and its exit code."""
    folder = tmp_path_factory.mktemp("bad")
    with LoopbackLab(0) as lab, ThreadPoolExecutor(2) as pool:

        def start(name: str) -> tuple[Path, str, int]:
            file = folder / f"{name.replace(' ', '-')}.yaml"
            file.write_text(BAD[name][0])
            words = ["master", "--config", str(file), "--listen", lab.address]
            ended = lab.piccolo(*words, "--data-dir", str(folder / "data"), check=False)
            return file, ended.stderr, ended.returncode

        return dict(zip(BAD, pool.map(start, BAD), strict=True))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_place(
    name: str, refused: dict[str, tuple[Path, str, int]]
) -> None:
    _, place, words = BAD[name]
    file, said, code = refused[name]
    assert code == 2
    assert f"{file}{place}" in said
    assert words in said
    assert "Traceback" not in said
    assert len(said) < 1000
    assert not (file.parent / "data").exists()


def test_an_empty_file_means_the_defaults_and_says_so() -> None:
    with LoopbackLab(1) as lab:
        master = lab.start_master(config="")
        assert "is empty: defaults hold" in master.output()
        lab.start_agent("node1")
        eventually(lambda: nodes(lab).get("node1", {}).get("status") == "Pending", 5)
