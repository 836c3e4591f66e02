"""Errors on the wire: each of ours arrives as itself, all others as what the caller can do."""

from __future__ import annotations

import errno
import inspect
import ssl

import pytest
from grpclib import GRPCError, Status
from grpclib.exceptions import ProtocolError, StreamTerminatedError

from piccolo.core import errors
from piccolo.core.errors import (
    CertificateRefused,
    Conflict,
    InvalidSpec,
    NotFound,
    PermissionDenied,
    PiccoloError,
    Unavailable,
)
from piccolo.rpc.errors import STATUS_OF, first_of, from_rpc, to_status

OURS = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
NAMED = [cls for cls in OURS if cls not in (PiccoloError, CertificateRefused)]
WHOM = "10.0.0.1:50051"


@pytest.mark.parametrize("cls", [PiccoloError, *NAMED])
def test_each_error_arrives_as_itself(cls: type[PiccoloError]) -> None:
    sent = to_status(cls("what is wrong; what to do next"))
    came = from_rpc(GRPCError(sent.status, sent.message), WHOM)
    assert type(came) is cls
    assert str(came) == "what is wrong; what to do next"


def test_a_refused_certificate_is_never_told_by_a_status_but_by_tls() -> None:
    assert to_status(CertificateRefused("x")).status is STATUS_OF[PermissionDenied]


def test_each_named_error_has_a_status_of_its_own() -> None:
    assert set(STATUS_OF) == set(NAMED)
    statuses = list(STATUS_OF.values())
    assert len(set(statuses)) == len(statuses)
    assert not {Status.OK, Status.UNKNOWN, Status.INTERNAL} & set(statuses)


def test_an_error_without_a_status_is_sent_as_the_nearest_that_has_one() -> None:
    class Busy(Conflict):
        pass

    class Odd(PiccoloError):
        pass

    assert to_status(Busy("taken")).status is STATUS_OF[Conflict]
    assert to_status(Odd("odd")).status is Status.INTERNAL
    assert to_status(Odd("odd")).message == "odd"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
def test_every_status_becomes_one_of_ours_and_keeps_its_message(status: Status) -> None:
    error = from_rpc(GRPCError(status, "the message"), WHOM)
    assert type(error) in OURS
    if status is Status.UNIMPLEMENTED:
        assert type(error) is Unavailable
        assert WHOM in str(error)
        assert "upgrade" in str(error)
    else:
        assert str(error) == "the message"


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (Status.UNAUTHENTICATED, PermissionDenied),
        (Status.DEADLINE_EXCEEDED, Unavailable),
        (Status.CANCELLED, Unavailable),
        (Status.UNKNOWN, PiccoloError),
        (Status.INTERNAL, PiccoloError),
    ],
)
def test_statuses_that_others_send(status: Status, cls: type[PiccoloError]) -> None:
    assert type(from_rpc(GRPCError(status, "x"), WHOM)) is cls


def test_a_status_without_a_message_says_whose_it_was() -> None:
    assert str(from_rpc(GRPCError(Status.NOT_FOUND), WHOM)) == f"{WHOM} answered NOT_FOUND"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StreamTerminatedError("Connection lost"), "closed the connection"),
        (ProtocolError("bad preface"), "does not speak PICCOLO's protocol"),
        (TimeoutError(), "did not answer in time"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route to host"),
        (OSError("Multiple exceptions: …"), "Multiple exceptions"),
        (ssl.SSLError("bad certificate"), "bad certificate"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_troubles_of_the_network_are_unavailable(error: Exception, said: str) -> None:
    ours = from_rpc(error, WHOM)
    assert type(ours) is Unavailable
    assert said in str(ours)
    assert WHOM in str(ours)


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:2580)")
    error.reason = reason
    return error


def verification_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "whatever OpenSSL says"
    return error


@pytest.mark.parametrize(
    ("error", "cls", "said"),
    [
        (tls_error("TLSV1_ALERT_UNKNOWN_CA"), CertificateRefused, "of another authority"),
        (tls_error("SSLV3_ALERT_CERTIFICATE_EXPIRED"), CertificateRefused, "has expired"),
        (tls_error("SSLV3_ALERT_BAD_CERTIFICATE"), CertificateRefused, "not valid yet"),
        (tls_error("TLSV1_ALERT_INTERNAL_ERROR"), Unavailable, "broke off the TLS handshake"),
        (tls_error("WRONG_VERSION_NUMBER"), Unavailable, "older master without TLS"),
        (verification_error(9), Unavailable, "clock, which says 20"),
        (verification_error(10), Unavailable, "clock, which says 20"),
        (verification_error(26), PermissionDenied, "no PICCOLO master"),
        (verification_error(62), PermissionDenied, "no PICCOLO master"),
        (verification_error(18), PermissionDenied, "another cluster"),
        (verification_error(19), PermissionDenied, "another cluster"),
    ],
)  # fmt: skip
def test_what_failures_of_tls_mean(error: ssl.SSLError, cls: type[PiccoloError], said: str) -> None:
    """The numbers are X509_V_ERR_… of OpenSSL's x509_vfy.h."""
    ours = from_rpc(error, WHOM)
    assert type(ours) is cls
    assert said in str(ours)
    assert WHOM in str(ours)


def test_anything_else_is_told_as_it_is() -> None:
    ours = from_rpc(ValueError("a bug"), WHOM)
    assert type(ours) is PiccoloError
    assert str(ours) == f"{WHOM}: a bug"


def test_the_first_of_a_group_is_found_however_deep() -> None:
    first, second = NotFound("first"), InvalidSpec("second")
    group = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [first]), second])
    assert first_of(group) is first
