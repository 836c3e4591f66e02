"""The agent's way to its master: find it, join, register, hold a session, and so again for ever.

Pauses between attempts grow with jitter up to the link profile's cap (N6). While the agent waits,
its pulses probe the way (see `pulser`), and an answer ends the wait.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from piccolo.agent.enrolment import CALL, DIAL, Enrolment
from piccolo.agent.pki import Pki
from piccolo.agent.pulser import Pulser
from piccolo.agent.renewal import Renewal
from piccolo.agent.reporter import Reporter
from piccolo.agent.session import Machine, Session, SessionEnded
from piccolo.agent.workloads.service import Workloads
from piccolo.core.address import Address
from piccolo.core.backoff import pause
from piccolo.core.errors import (
    CertificateRefused,
    Conflict,
    InvalidSpec,
    NotFound,
    PermissionDenied,
    PiccoloError,
)
from piccolo.core.model import NodeRole, NodeType
from piccolo.core.nodes.liveness import PROFILES
from piccolo.rpc import convert, wire
from piccolo.rpc.client import Connection, dial
from piccolo.rpc.isolated import isolated

log = logging.getLogger(__name__)

_REFUSED_CAP = 60.0  # s between attempts of a node that is refused
_NAMED = 20  # workloads of another cluster, in a registration
_STEADY = 10.0  # s: a session that lasted so long was a success; the back-off begins anew


class Remembered(Protocol):
    """Who this node is, and the cluster that it joined; see `identity.Identity`."""

    node_id: str
    cluster_id: str

    def joined(self, cluster_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Membership:
    """As what this node wants to join; `node.yaml` of the master wins."""

    name: str
    role: NodeRole
    type: NodeType
    link: str
    labels: Mapping[str, str]


class MasterLink:
    def __init__(
        self,
        masters: Sequence[Address],
        membership: Membership,
        identity: Remembered,
        machine: Machine,
        reporter: Reporter,
        pulser: Pulser,
        pki: Pki,
        enrolment: Enrolment,
        workloads: Workloads,
    ) -> None:
        self._masters = list(masters)
        self._membership = membership
        # Told of each change: the address of the master, or none and why there is no session.
        self.on_link: Callable[[str, str], None] = lambda master, trouble: None
        self._identity = identity
        self._machine = machine
        self._reporter = reporter
        self._pulser = pulser
        self._pki = pki
        self._enrolment = enrolment
        self._workloads = workloads
        self._rejoined = False
        self._kept_out = ""  # why the master that the token is of does not let us in
        self._only_by_token = False
        self._refused = False
        self._registered = False
        self._session: Session | None = None
        self._last_error = ""
        self._leaving = False

    async def run(self) -> None:
        """Until the master takes this node out of the cluster, then return.

        Raises what refuses a node that never joined: its settings are wrong, retrying is no use.
        """
        await self._reporter.looked.wait()  # so that the first report is complete
        attempt = 0
        while not self._leaving:
            began = time.monotonic()
            self._refused = False
            try:
                await isolated(self._connect())
            except SessionEnded as ended:
                if ended.final:
                    log.warning("%s; to join anew, start the agent with a new token", ended)
                    if ended.reason == "Removed":
                        await self._workloads.leave()
                    return
                self._complain(str(ended))
            except NotFound as error:
                self._registered = False
                self._complain(str(error))
            except (Conflict, InvalidSpec, PermissionDenied) as error:
                if not self._identity.cluster_id:
                    raise
                self._refused = True
                self._complain(str(error))
            except PiccoloError as error:
                self._complain(str(error))
            if time.monotonic() - began > _STEADY:
                attempt = 0
            attempt += 1
            await self._wait(attempt)

    def _complain(self, message: str) -> None:
        """Once per new trouble: an agent may be without its master for weeks."""
        trouble = re.sub(r"\d+", "0", message)  # "wait 9 s", or a minute later, is nothing new
        known = self._leaving or trouble == self._last_error
        if not known:
            self.on_link("", message)
        level = logging.DEBUG if known else logging.WARNING
        log.log(level, "no session with the master: %s; trying again", message)
        self._last_error = trouble

    async def _wait(self, attempt: int) -> None:
        pacer = self._pulser.pacer  # has the profile that the master chose, after the first session
        cap = (pacer.profile if pacer else PROFILES[self._membership.link]).backoff_cap
        if self._refused:  # only a person can help: do not fill the master's audit trail
            await asyncio.sleep(pause(attempt, random.random(), cap=max(cap, _REFUSED_CAP)))
            return
        self._pulser.answered.clear()
        try:
            async with asyncio.timeout(pause(attempt, random.random(), cap=cap)):
                await self._pulser.answered.wait()
                # The way is free again. Not all at once, should there be many of us.
                await asyncio.sleep(random.random() * 0.2)
        except TimeoutError:
            pass

    async def _connect(self) -> None:
        held = self._pki.held
        if held is None:
            await self._join()
        elif held.not_after < time.time():
            await self._regain("the certificate of this node has expired")
        try:
            await self._session_with_master()
        except CertificateRefused as error:
            await self._regain(str(error))
        except PermissionDenied as error:
            if self._kept_out:  # the token is not tried again: that is the answer to it
                raise Conflict(self._kept_out) from error
            if not self._enrolment.has_token or self._rejoined:
                raise
            self._rejoined = True  # the token is good for one attempt
            log.warning("%s; joining again with the token", error)
            await self._join()

    async def _join(self) -> None:
        self._kept_out = ""
        try:
            reply = await self._enrolment.join(self._masters, self._registration)
        except Conflict as error:
            self._kept_out = str(error)
            raise
        self._has_registered(reply)

    async def _regain(self, trouble: str) -> None:
        """A new certificate by the one that is no longer taken; else by a token, if there is one.

        Raises `PermissionDenied` with the master's reason.
        """
        if not self._only_by_token:
            try:
                await self._enrolment.renew_expired(self._masters)
                return
            except PermissionDenied as error:
                if not self._enrolment.has_token:
                    raise PermissionDenied(
                        f"{trouble}, and the master gives no other: {error}; start the agent with"
                        " --token (`piccolo token create` on the master)"
                    ) from error
                # Each refusal blocks our address for longer: the token would never get through.
                self._only_by_token = True
        await self._join()
        self._only_by_token = False

    async def _session_with_master(self) -> None:
        connection = await dial(self._masters, timeout=DIAL, tls=self._pki.context())
        try:
            await self._hold(connection)
        except PiccoloError as error:
            explained = connection.explain(error)
            raise explained if isinstance(explained, CertificateRefused) else error from error
        except Exception as error:
            raise connection.explain(error) from error
        finally:
            self._session = None
            connection.close()

    async def _hold(self, connection: Connection) -> None:
        if not self._registered:
            await self._register(connection)
        # The address that answered is tried first next time.
        self._masters.sort(key=lambda address: address != connection.address)
        self._session = Session(
            connection,
            self._machine,
            self._reporter,
            self._pulser,
            self._joined,
            Renewal(self._pki, self._enrolment, connection),
            self._workloads,
        )
        await self._session.run()

    async def _register(self, connection: Connection) -> None:
        stub = wire.NodeAgentServiceStub(connection.channel)
        request = self._registration(connection.local_host())
        self._has_registered(await stub.register_node(request, timeout=CALL))

    def _registration(self, local_host: str) -> wire.NodeRegistrationRequest:
        m, held = self._membership, self._workloads.names
        return wire.NodeRegistrationRequest(
            node_id=self._identity.node_id,
            hostname=m.name,
            ip_address=local_host,
            role=convert.role_to_wire(m.role),
            type=convert.type_to_wire(m.type),
            resources=convert.resources_to_wire(self._machine.resources),
            facts=convert.facts_to_wire(self._machine.facts),
            labels=dict(m.labels),
            instance_id=self._machine.instance_id,
            link_profile=m.link,
            # So that a master of another cluster does not end them, as it knows none of them.
            held_cluster_id=self._identity.cluster_id if held else "",
            held_workloads=held[:_NAMED],
            held_count=len(held),
        )

    def _has_registered(self, reply: wire.NodeRegistrationResponse) -> None:
        self._registered = True
        if reply.status == wire.RegistrationStatus.AWAITING_APPROVAL:
            log.warning("the master keeps this node waiting: %s", reply.message)
        else:
            log.info("registered as %s: %s", self._membership.name, reply.message)

    async def _joined(self, cluster_id: str) -> None:
        self._last_error = ""
        if cluster_id != self._identity.cluster_id:
            await asyncio.to_thread(self._identity.joined, cluster_id)
        log.info("session with the master is open")
        self.on_link(str(self._masters[0]), "")  # the one that answered: see `_hold`

    async def say_goodbye(self) -> None:
        """The agent stops: tell the master, if there is one, and give it a moment to leave."""
        self._leaving = True
        if self._session is not None:
            self._session.say_goodbye("AgentStopping", "the agent is stopping")
            await asyncio.sleep(0.1)
