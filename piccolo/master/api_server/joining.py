"""How a node comes in, and stays in: registration with credentials, and new certificates.

validate → authenticate → store → reply (LLD 2.3.2). The node, the use of its token and the record
of its certificate are stored in one transaction, and a lost reply does no harm: the same node may
ask again with the same key.
"""

from __future__ import annotations

from piccolo.config.settings import ListedNode
from piccolo.core import words
from piccolo.core.errors import Conflict, DuplicateIdentity, PermissionDenied
from piccolo.core.model import Node, NodeState, Severity, Token, TokenUse
from piccolo.core.security.access import Principal, Role
from piccolo.master import keys
from piccolo.master.cluster import Cluster
from piccolo.master.registration import Registration
from piccolo.master.security.tokens import REFUSED
from piccolo.rpc import convert, wire
from piccolo.rpc.server import caller, concerns
from piccolo.security.authority import Request

_NAMED = 5  # workloads in a message


def own_node(node_id: str) -> str:
    """The id of the node that the caller's certificate is of; `node_id` is what it says.

    Raises `PermissionDenied` when it claims to be another.
    """
    mine = caller().principal.name
    if node_id != mine:
        concerns(f"node {node_id}")
        raise PermissionDenied(f"this certificate is of node {mine}, not of {node_id or 'none'}")
    return mine


def refuse_clone(c: Cluster, node: Node, instance_id: str) -> None:
    """Two living agents of one identity: the one that came first stays (N6)."""
    current = c.sessions.of_node(node.id)
    if current is not None and current.instance_id != instance_id and c.monitoring.alive(node.id):
        c.duplicate_seen(node, current.peer, caller().address)
        raise DuplicateIdentity(
            f"node {node.name} (id {node.id}) is connected from {current.peer} already: this"
            " machine's data directory is a copy of that one's. Give this machine its own:"
            " stop the agent, delete the data directory, start it again with a new token"
        )


async def register(
    c: Cluster, message: wire.NodeRegistrationRequest
) -> wire.NodeRegistrationResponse:
    """Serves RegisterNode of both services."""
    who = caller()
    concerns(f"node {message.hostname}")
    request = _registration(message)
    if who.principal.role is Role.AGENT:
        own_node(message.node_id)
        _refuse_borrowed_name(c, request)
        c.nodes.validate(request)
        _refuse_what_would_end(c, message)
        unknown = c.state.node(request.node_id) is None
        reply = await _store(c, request, message, None, {})
        if unknown:
            _note_adopted(c, request.name)
        return reply
    async with c.joining:
        return await _join(c, request, message)


def _note_adopted(c: Cluster, name: str) -> None:
    """A node that our authority let in, but the store does not know: a backup that is older."""
    text = "it has a certificate of this cluster, and the store does not know it: taken in again"
    c.events.add(Severity.WARNING, "node", name, "NodeAdopted", text, name)


def _registration(message: wire.NodeRegistrationRequest) -> Registration:
    return Registration(
        node_id=message.node_id,
        name=message.hostname,
        ip=message.ip_address,
        role=convert.role_from_wire(message.role),
        type=convert.type_from_wire(message.type),
        resources=convert.resources_from_wire(message.resources),
        facts=convert.facts_from_wire(message.facts),
        labels=dict(message.labels),
        link=message.link_profile,
    )


async def _join(
    c: Cluster, request: Registration, message: wire.NodeRegistrationRequest
) -> wire.NodeRegistrationResponse:
    credentials = message.credentials or wire.Credentials()
    if not credentials.csr_pem:
        raise PermissionDenied(
            "a node joins with a token and a request for a certificate: start its agent with"
            " --token; `piccolo token create` on the master makes one"
        )
    c.nodes.validate(request)
    csr = Request(credentials.csr_pem)
    token, used = _authenticate(c, request, credentials.token, csr)
    _refuse_what_would_end(c, message)  # only whoever may come in learns of it, and tells us
    principal = Principal(Role.AGENT, request.node_id)
    former = c.certificates.of(principal)
    known = c.state.node(request.node_id)
    # For just this node; but not for one of another name, whose id somebody else may tell us.
    meant = (token is None or token.node == request.name) and (
        known is None or known.name == request.name
    )
    strange = [f for f in former if f.fingerprint != csr.fingerprint]
    same_key = len(strange) < len(former)
    if known is not None and not same_key and not meant:
        raise Conflict(
            f"node {known.name} (id {known.id}) is known with another key; if its machine was"
            f" replaced or lost its key, run: piccolo remove node {known.name}, or make a token"
            f" for it: piccolo token create --node {known.name}"
        )
    namesake = c.state.node_named(request.name)
    if namesake is not None and namesake.id != request.node_id and meant:
        await c.remove(namesake.id, f"replaced by the machine {request.node_id}")
    signed, also = c.certificates.sign(principal, csr)
    if token is not None:
        concerns(f"node {request.name}, by token {token.id}")
        also = {**also, **used}
    reply = await _store(c, request, message, signed, also)
    if strange and meant:
        await c.certificates.revoke(strange, "replaced: the node joined with another key")
    return reply


def _authenticate(
    c: Cluster, request: Registration, text: str, csr: Request
) -> tuple[Token | None, dict[str, TokenUse]]:
    """The token by which the node comes in (None: `node.yaml` has its key), and what is to be kept
    of its use, by its key.
    """
    listed = c.nodes.listed(request.name)
    if listed is not None and listed.key_fingerprint:
        if csr.fingerprint != listed.key_fingerprint:
            raise PermissionDenied(
                REFUSED, f"node.yaml has another key for {request.name} than {csr.fingerprint}"
            )
        return None, {}
    if not text:
        raise PermissionDenied(
            f"{request.name} showed no token, and node.yaml of the master does not list its key,"
            f" {csr.fingerprint}: start its agent with --token (`piccolo token create` makes one)"
        )
    use = TokenUse(request.node_id, request.name, csr.fingerprint)
    held = c.certificates.of(Principal(Role.AGENT, request.node_id))
    removed = all(h.fingerprint != csr.fingerprint for h in held)
    token, used = c.tokens.check(text, use=use, type=request.type, removed=removed)
    if listed is not None and listed.token_id not in ("", token.id):
        raise PermissionDenied(
            REFUSED, f"node.yaml wants token {listed.token_id} of {request.name}, not {token.id}"
        )
    return token, used


def _refuse_what_would_end(c: Cluster, message: wire.NodeRegistrationRequest) -> None:
    """A node that runs workloads of another cluster: this master knows none of them, so it would
    have them removed. Mostly that cluster's master is lost, and this is to be its successor."""
    number, theirs = message.held_count, message.held_cluster_id
    if not number or theirs in ("", c.id) or c.restored.takes_over(message.node_id):
        return
    held = [words.printable(name[:63]) for name in message.held_workloads[:_NAMED]]
    names = ", ".join(held) + (", …" if number > len(held) else "")
    what = f"{number} workload{'' if number == 1 else 's'} of another cluster ({names})"
    error = (
        f"{message.hostname} still runs {what}: to take them over, begin this cluster with"
        " `piccolo master --rebuild 10m` on an empty data directory; to end them, stop its agent,"
        " delete `workloads` in the data directory of the agent, and start it again"
    )
    c.refused(message.node_id, message.hostname, "RunsAnotherClusters", error)
    raise Conflict(error)


def _refuse_borrowed_name(c: Cluster, request: Registration) -> None:
    """A node that has joined may change its name, but not to one with credentials of its own."""
    known = c.state.node(request.node_id)
    listed = c.nodes.listed(request.name)
    if listed is None or (known is not None and known.name == request.name):
        return
    if not _entitled(c, request.node_id, listed):
        raise PermissionDenied(
            f"the name {request.name} has credentials of its own in node.yaml: join by them"
        )


def _entitled(c: Cluster, node_id: str, listed: ListedNode) -> bool:
    if listed.key_fingerprint:
        mine = c.certificates.of(Principal(Role.AGENT, node_id))
        return any(m.fingerprint == listed.key_fingerprint for m in mine)
    if listed.token_id:
        token = c.state.get(keys.token(listed.token_id), Token)
        return token is not None and any(use.node_id == node_id for use in c.tokens.uses(token))
    return True


async def _store(
    c: Cluster,
    request: Registration,
    message: wire.NodeRegistrationRequest,
    signed: wire.SignedCertificate | None,
    also: dict[str, object | None],
) -> wire.NodeRegistrationResponse:
    known = c.state.node(message.node_id)
    if known is not None:
        refuse_clone(c, known, message.instance_id)
    node = await c.nodes.register(request, also)
    if c.sessions.of_node(node.id) is None:
        c.monitoring.expect(node)
    status = c.state.status(node.id)
    waiting = status.state is NodeState.PENDING
    return wire.NodeRegistrationResponse(
        node_id=node.id,
        cluster_info=c.info(),
        status=wire.RegistrationStatus.AWAITING_APPROVAL
        if waiting
        else wire.RegistrationStatus.REGISTERED,
        message=status.message if waiting else f"welcome to {c.name}",
        certificate=signed,
    )


async def renew(c: Cluster, message: wire.RenewCertificateRequest) -> wire.RenewCertificateResponse:
    """A new certificate for a node: over its session, or by its old one, within the grace."""
    who = caller()
    csr = Request(message.csr_pem)
    if who.principal.role is Role.AGENT:
        principal = who.principal
    else:
        principal = c.certificates.expired_principal(message.expired_pem, csr)
    node = c.state.node(principal.name)
    concerns(f"node {node.name if node is not None else principal.name}")
    if principal.role is not Role.AGENT or node is None:
        raise PermissionDenied("this node is not of the cluster; join with a token")
    known = c.certificates.of(principal)
    if known and all(k.fingerprint != csr.fingerprint for k in known):
        raise PermissionDenied("the key is not the one that this node joined with")
    signed = await c.certificates.issue(principal, csr)
    assert signed.not_after is not None
    c.access.renewed(principal, signed.not_after.timestamp())
    if who.principal.role is Role.ANONYMOUS:
        c.events.add(
            Severity.WARNING,
            "node",
            node.name,
            "CertificateRenewedLate",
            f"its certificate had expired; a new one was given to the same key at {who.source}",
            node.name,
        )
    return wire.RenewCertificateResponse(certificate=signed)
