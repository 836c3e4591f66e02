"""The calls about who may come in: tokens, certificates, authorities (docs/security.md)."""

from __future__ import annotations

from datetime import timedelta

from piccolo.core.errors import Conflict, InvalidSpec, PiccoloError
from piccolo.core.model import Certificate, Token, TokenUse
from piccolo.core.security.access import CLIENT_NAME, Principal, Role
from piccolo.master.api_server.diagnosis import diagnose
from piccolo.master.api_server.workload_views import WorkloadViews
from piccolo.master.cluster import Cluster
from piccolo.master.security.tokens import DEFAULT_TTL
from piccolo.rpc import convert, wire
from piccolo.rpc.server import caller, concerns
from piccolo.security import authority as ca
from piccolo.security.authority import Request

CLIENT_LIFETIME = timedelta(days=365)
MAX_CLIENT_LIFETIME = timedelta(days=3650)


class SecurityCalls:
    _c: Cluster
    _workloads: WorkloadViews

    # ---- tokens ----

    async def create_token(self, message: wire.CreateTokenRequest) -> wire.CreateTokenResponse:
        install = await self._installation(needed=message.install)
        token, text = await self._c.tokens.create(
            self._c.certificates.trust.current.fingerprint,
            ttl=timedelta(seconds=message.ttl_seconds) if message.ttl_seconds else DEFAULT_TTL,
            uses=message.uses or 1,
            node=message.node,
            type=convert.type_from_wire(message.type)
            if message.type != wire.NodeType.UNSPECIFIED
            else None,
            by=str(caller().principal),
        )
        concerns(f"token {token.id}" + (f" for node {token.node}" if token.node else ""))
        return wire.CreateTokenResponse(
            token=self._token(token),
            text=text.text,
            master_addresses=list(self._c.addresses),
            install=install,
        )

    async def _installation(self, *, needed: bool) -> wire.Installation | None:
        try:
            return await self._c.installing.offer()
        except PiccoloError:
            if needed:
                raise
            return None

    def _token(self, token: Token) -> wire.Token:
        return _to_wire(token, self._c.tokens.uses(token), self._c.certificates.trust.fingerprints)

    async def get_tokens(self, message: wire.GetTokensRequest) -> wire.GetTokensResponse:
        return wire.GetTokensResponse(tokens=[self._token(t) for t in self._c.tokens.all()])

    async def revoke_token(self, message: wire.RevokeTokenRequest) -> wire.RevokeTokenResponse:
        concerns(f"token {message.id}")
        return wire.RevokeTokenResponse(token=self._token(await self._c.tokens.revoke(message.id)))

    # ---- certificates ----

    async def issue_certificate(
        self, message: wire.IssueCertificateRequest
    ) -> wire.IssueCertificateResponse:
        """For a further client; its key stays where it was made."""
        if message.role not in (Role.ADMIN, Role.VIEWER):
            raise InvalidSpec(f'"{message.role}" is no role of clients: admin or viewer')
        if not CLIENT_NAME.fullmatch(message.name):
            raise InvalidSpec(
                f'"{message.name}" is not a client name: lower-case letters, digits, "-" and ".",'
                " at most 63"
            )
        concerns(f"{message.role} {message.name}")
        lifetime = timedelta(seconds=message.ttl_seconds) or CLIENT_LIFETIME
        if lifetime > MAX_CLIENT_LIFETIME:
            raise InvalidSpec(f"a certificate lives for at most {MAX_CLIENT_LIFETIME.days} days")
        if namesakes := self._c.certificates.clients(message.name):
            raise Conflict(
                f"there is a {namesakes[0].role} called {message.name} already; choose another"
                f" --name, or revoke it first: piccolo context revoke {message.name}"
            )
        principal = Principal(Role(message.role), message.name)
        signed = await self._c.certificates.issue(principal, Request(message.csr_pem), lifetime)
        return wire.IssueCertificateResponse(certificate=signed, cluster=self._c.info())

    async def renew_own_certificate(
        self, message: wire.RenewOwnCertificateRequest
    ) -> wire.RenewOwnCertificateResponse:
        """The same client, for as long as the first time."""
        who = caller()
        concerns(str(who.principal))
        request = Request(message.csr_pem)
        old = [c for c in self._c.certificates.of(who.principal) if c.serial == who.serial]
        lifetime = old[0].not_after - old[0].not_before if old else CLIENT_LIFETIME
        signed = await self._c.certificates.issue(who.principal, request, lifetime)
        return wire.RenewOwnCertificateResponse(certificate=signed)

    async def get_certificates(
        self, message: wire.GetCertificatesRequest
    ) -> wire.GetCertificatesResponse:
        found = [self._certificate(c) for c in self._c.certificates.all()]
        return wire.GetCertificatesResponse(certificates=found)

    async def revoke_certificate(
        self, message: wire.RevokeCertificateRequest
    ) -> wire.RevokeCertificateResponse:
        concerns(f"certificate {message.serial}")
        found = self._c.certificates.find(message.serial)
        reason = f"revoked by {caller().principal}"
        revoked = await self._c.certificates.revoke(found, reason)
        return wire.RevokeCertificateResponse(revoked=[self._certificate(c) for c in revoked])

    def _certificate(self, c: Certificate) -> wire.Certificate:
        found = wire.Certificate(
            serial=c.serial,
            role=c.role,
            name=c.name,
            fingerprint=c.fingerprint,
            not_before=c.not_before,
            not_after=c.not_after,
            revoked_at=c.revoked_at,
            revoked_reason=c.revoked_reason,
            issuer=c.issuer,
            trusted=c.issuer in self._c.certificates.trust.fingerprints,
            newest=self._c.certificates.is_newest(c),
        )
        if c.role == Role.AGENT:
            found.node_name = self._c.certificates.name_of(c)
        return found

    # ---- authorities ----

    def _authorities(self) -> list[wire.Authority]:
        certificates = self._c.certificates
        found: list[wire.Authority] = []
        for certificate in certificates.trust.trusted:
            fingerprint = ca.fingerprint_of(certificate)
            holders = certificates.holders(fingerprint)
            name = certificates.name_of
            found.append(
                wire.Authority(
                    fingerprint=fingerprint,
                    not_before=certificate.not_valid_before_utc,
                    not_after=certificate.not_valid_after_utc,
                    current=not found,
                    retires_at=certificates.retires_at(fingerprint),
                    nodes=sorted(name(c) for c in holders if c.role == Role.AGENT),
                    clients=sorted(name(c) for c in holders if c.role != Role.AGENT),
                )
            )
        return found

    async def get_authority(self, message: wire.GetAuthorityRequest) -> wire.GetAuthorityResponse:
        return wire.GetAuthorityResponse(
            authorities=self._authorities(), ca_pem=self._c.certificates.trust.bundle
        )

    async def rotate_authority(
        self, message: wire.RotateAuthorityRequest
    ) -> wire.RotateAuthorityResponse:
        overlap = timedelta(seconds=message.overlap_seconds) if message.overlap_seconds else None
        await self._c.certificates.rotate(self._c.name, overlap)
        concerns(f"authority {self._c.certificates.trust.current.fingerprint}")
        return wire.RotateAuthorityResponse(authorities=self._authorities())

    async def retire_authority(
        self, message: wire.RetireAuthorityRequest
    ) -> wire.RetireAuthorityResponse:
        gone, shut_out = await self._c.certificates.retire(force=message.force)
        concerns(f"authority {', '.join(gone)}" if gone else "no authority")
        return wire.RetireAuthorityResponse(
            authorities=self._authorities(),
            retired=len(gone),
            shut_out=[self._certificate(c) for c in shut_out],
        )

    # ---- diagnosis ----

    async def diagnose(self, message: wire.DiagnoseRequest) -> wire.DiagnoseResponse:
        return wire.DiagnoseResponse(findings=await diagnose(self._c, self._workloads))


def _to_wire(token: Token, uses: list[TokenUse], pins: list[str]) -> wire.Token:
    return wire.Token(
        id=token.id,
        created_at=token.created_at,
        expires_at=token.expires_at,
        uses=token.uses,
        used=len(uses),
        node=token.node,
        type=convert.type_to_wire(token.type) if token.type else wire.NodeType.UNSPECIFIED,
        created_by=token.created_by,
        revoked_at=token.revoked_at,
        used_by=[use.node_name for use in uses],
        authority_retired=token.pin not in pins,
    )
