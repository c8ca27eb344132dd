"""Reaching a host: what is asked, what is found. Told apart: name, connection, TLS, certificate. Not judged here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import NamedTuple, Protocol

from msgspec import Struct


class Stage(Enum):
    """Where it ended, in the order of trying."""

    SETTINGS = "settings"  # at this terminal: nothing is known about the host
    NAME = "name"
    CONNECT = "connect"
    TLS = "tls"
    CERTIFICATE = "certificate"


class ReachTarget(Struct, frozen=True):
    """One host.

    Attributes:
        server_name: What its certificate must be for; None: ``host``.
        ca_file: The authorities that are trusted, PEM; None: those of the system.
    """

    name: str
    host: str
    port: int
    tls: bool = True
    ca_file: str | None = None
    server_name: str | None = None


class ReachReading(Struct, frozen=True):
    """One attempt. What was not come to is ``None``; ``failed`` is ``None`` when everything went well.

    Attributes:
        addresses: All that the name stands for; the address itself where the host is one.
        resolve_s: ``None`` also where there was nothing to resolve.
        connect_s, handshake_s: Of the address that answered.
        certificate_until_s: End of the certificate's validity, seconds since 1970 UTC.
        why: Words for ``failed``.
    """

    addresses: tuple[str, ...] = ()
    resolve_s: float | None = None
    connect_s: float | None = None
    handshake_s: float | None = None
    certificate_until_s: float | None = None
    failed: Stage | None = None
    why: str = ""


class Resolved(NamedTuple):
    """What a name stands for, or why that is not known: exactly one of both."""

    addresses: tuple[str, ...]
    problem: str = ""


Resolve = Callable[[ReachTarget, float], Awaitable[Resolved]]
"""Resolves a target's name within so many seconds; never raises, never blocks the loop."""


class HostReach(Protocol):
    """One host, asked from the event loop."""

    name: str

    async def read(self) -> ReachReading:
        """Resolve, connect, shake hands, hang up; nothing else is sent. Within `READ_LIMIT_S`; never raises."""
        ...


RESOLVE_LIMIT_S = 2.0
CONNECT_LIMIT_S = 5.0
HANDSHAKE_LIMIT_S = 5.0
READ_LIMIT_S = RESOLVE_LIMIT_S + CONNECT_LIMIT_S + HANDSHAKE_LIMIT_S + 1.0
