"""A certificate authority: signs what nodes, clients and the master show each other (RFC 5280).

Certificates carry what they are for: a master's has the names it is reached by and may only serve,
all others have one SPIFFE ID and may only call. Imports `cryptography`: not for the agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from piccolo.core.errors import InvalidSpec, Unavailable
from piccolo.core.security.access import MASTER_NAME
from piccolo.core.security.token import fingerprint

AUTHORITY_LIFETIME = timedelta(days=3650)
MAX_REQUEST = 16_384  # bytes
# Certificates hold from before they are made: the clocks of a cluster are not all right.
BACKDATED = timedelta(minutes=10)

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate that was just signed."""

    pem: str
    serial: str  # hexadecimal, as Python's ssl module shows it
    fingerprint: str  # of the public key
    not_before: datetime  # when it was made; it is valid from a little earlier
    not_after: datetime


class Request:
    """A request for a certificate, its signature checked: whoever made it has the key."""

    def __init__(self, pem: str) -> None:
        """Raises `InvalidSpec` for what is no request, or has a key that we do not take."""
        if len(pem) > MAX_REQUEST:
            raise InvalidSpec(f"a certificate request has at most {MAX_REQUEST} bytes")
        try:
            request = x509.load_pem_x509_csr(pem.encode())
            valid, key = request.is_signature_valid, request.public_key()
        except (ValueError, TypeError, x509.InvalidVersion) as error:
            raise InvalidSpec("this is no certificate request in PEM form") from error
        except Exception as error:  # OpenSSL knows further ways to dislike a key
            raise InvalidSpec("this certificate request cannot be read") from error
        if not valid:
            raise InvalidSpec("the certificate request is not signed by its own key")
        self.key = _supported(key)
        self.fingerprint = key_fingerprint(self.key)


def _supported(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1
    ):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise InvalidSpec("keys must be of the kinds P-256, P-384 or Ed25519")


def key_fingerprint(key: PublicKey) -> str:
    return fingerprint(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


class Authority:
    """A certificate with the right to sign, and its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key
        self.fingerprint = fingerprint(certificate.public_bytes(Encoding.DER))

    @classmethod
    def create(cls, name: str, now: datetime) -> Authority:
        """A new one, self-signed; its name ends in what tells it from its successors."""
        key = ec.generate_private_key(ec.SECP256R1())
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]
        text = f"{name[:40]} CA {own}"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
        return cls(_authority(subject, key.public_key(), subject, key, now), key)

    @classmethod
    def load(cls, certificate_pem: str, key_pem: str) -> Authority:
        """Raises `InvalidSpec` when they are damaged or do not belong together."""
        certificate = load_certificate(certificate_pem)
        try:
            key = load_pem_private_key(key_pem.encode(), None)
        except (ValueError, TypeError) as error:
            raise InvalidSpec("this is no private key in PEM form") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidSpec("the key is of another kind than PICCOLO makes")
        if certificate.public_key() != key.public_key():
            raise InvalidSpec("the certificate and the key do not belong together")
        return cls(certificate, key)

    @property
    def pem(self) -> str:
        return to_pem(self.certificate)

    @property
    def key_pem(self) -> str:
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def cross_sign(self, successor: Authority, now: datetime) -> str:
        """The successor's certificate signed by us, so that who trusts us trusts it (PEM)."""
        cert = successor.certificate
        key = cert.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        issuer = self.certificate.subject
        signed = _authority(
            cert.subject, key, issuer, self._key, now, self.certificate.not_valid_after_utc
        )
        return to_pem(signed)

    def check_clock(self, now: datetime) -> None:
        """Raises `Unavailable` at a time at which nothing that we sign would hold."""
        made, until = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if not made < now < until:
            raise Unavailable(
                f"this machine's clock says {now:%Y-%m-%d}, and the cluster's authority holds from"
                f" {made:%Y-%m-%d} to {until:%Y-%m-%d}: set the clock; if it is right, run:"
                " piccolo ca rotate"
            )

    def sign_client(
        self, key: PublicKey, spiffe_id: str, now: datetime, lifetime: timedelta
    ) -> Signed:
        """A certificate by which an agent or a client calls the master. Raises `Unavailable`."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(spiffe_id)]
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._sign(key, spiffe_id.rpartition("/")[2], names, usage, now, lifetime)

    def sign_master(
        self, key: PublicKey, hosts: Iterable[str], now: datetime, lifetime: timedelta
    ) -> Signed:
        """A certificate for a master that is reached by these names and addresses.

        Raises `Unavailable`.
        """
        names = [_general_name(host) for host in dict.fromkeys((MASTER_NAME, *hosts))]
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        return self._sign(key, MASTER_NAME, names, usage, now, lifetime)

    def _sign(
        self,
        key: PublicKey,
        common_name: str,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        now: datetime,
        lifetime: timedelta,
    ) -> Signed:
        now = now.replace(microsecond=0)
        # What outlives its authority would be refused by some, and taken by others.
        until = min(now + lifetime, self.certificate.not_valid_after_utc)
        self.check_clock(now)
        ours = self.certificate.public_key()
        assert isinstance(ours, ec.EllipticCurvePublicKey)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - BACKDATED, self.certificate.not_valid_before_utc))
            .not_valid_after(until)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ours), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        serial = serial_of(certificate)
        return Signed(to_pem(certificate), serial, key_fingerprint(key), now, until)


def load_certificate(pem: str) -> x509.Certificate:
    """The first of a PEM text. Raises `InvalidSpec`."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except (ValueError, TypeError) as error:
        raise InvalidSpec("this is no certificate in PEM form") from error


def load_certificates(pem: str) -> list[x509.Certificate]:
    """All of a PEM text. Raises `InvalidSpec`."""
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, TypeError) as error:
        raise InvalidSpec("these are no certificates in PEM form") from error


def to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def serial_of(certificate: x509.Certificate) -> str:
    digits = f"{certificate.serial_number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def fingerprint_of(certificate: x509.Certificate) -> str:
    return fingerprint(certificate.public_bytes(Encoding.DER))


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether it was, whatever the time is now."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def uris_of(certificate: x509.Certificate) -> list[str]:
    """The URIs of its subject alternative name."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.value.get_values_for_type(x509.UniformResourceIdentifier)


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """Raises `InvalidSpec` for kinds that we do not sign."""
    return _supported(certificate.public_key())


def _authority(
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    until: datetime | None = None,
) -> x509.Certificate:
    now = now.astimezone(UTC).replace(microsecond=0)
    issuer_public = issuer_key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until or now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )


def _usage(**given: bool) -> x509.KeyUsage:
    none = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**none, **given})


def _general_name(host: str) -> x509.GeneralName:
    """Raises `InvalidSpec` for what is neither an address nor a name."""
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise InvalidSpec(f'"{host}" is neither an IP address nor a host name') from None
