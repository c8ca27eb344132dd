"""Which broker, by which protocol, under which certificates; and what goes through a connection. No MQTT library here.

Source of names: MQTT 5.0, OASIS Standard, 7 March 2019. A TLS context is built only where TLS is configured: the
system's own list of authorities costs 2 MB and would trust strangers, so a broker is normally pinned by its own CA.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, Literal, NamedTuple

from msgspec import Struct

SESSION_EXPIRY_S: Final = 7 * 24 * 3600
WILL_DELAY_S: Final = 10
WINDOW: Final = 8
RECEIVE_MAXIMUM: Final = 16


class Broker(Struct, frozen=True):
    """Where the broker is and how it is spoken to.

    Args:
        ca_file: Who may have signed the broker's certificate; without it the system's authorities.
        certificate_file, key_file: This side's own certificate, both or none.
        connect_timeout_s: For TCP, TLS and CONNACK together.
        acknowledge_timeout_s: A link on which a PUBACK is missing for longer is given up.
        window: Our messages without PUBACK. receive_maximum: the broker's, asked of it where the protocol can.
    """

    host: str
    port: int
    protocol: Literal["5", "3.1.1"] = "5"
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: int = 60
    connect_timeout_s: float = 10.0
    acknowledge_timeout_s: float = 60.0
    window: int = WINDOW
    receive_maximum: int = RECEIVE_MAXIMUM

    def tls_context(self) -> ssl.SSLContext | None:
        """A fresh context, so that renewed certificates are taken at the next connection; None without TLS.

        Raises:
            OSError: A file cannot be read, or is no certificate or key.
        """
        if not self.tls:
            return None
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        else:
            context.load_default_certs()
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


class _Context(ssl.SSLContext):
    """Keeps hold of the socket it wrapped: when the handshake fails nobody else does, and it must be closed."""

    wrapped: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: object, **kwargs: object) -> ssl.SSLSocket:
        kwargs["do_handshake_on_connect"] = False
        self.wrapped = super().wrap_socket(*args, **kwargs)  # type: ignore[arg-type]
        return self.wrapped


def close_unfinished(context: ssl.SSLContext | None) -> None:
    """Close the socket of a handshake that failed; harmless otherwise on a socket already closed."""
    if isinstance(context, _Context) and context.wrapped is not None:
        context.wrapped.close()
        context.wrapped = None


class Will(NamedTuple):
    """What the broker publishes, retained and at QoS 1, when the link is lost for longer than ``WILL_DELAY_S``."""

    topic: str
    payload: bytes


class Subscription(NamedTuple):
    """One Topic Filter, with Retain As Published where the protocol knows it.

    Args:
        retained: 0 retained messages come at every subscription, 1 at a new one only, 2 never (Retain Handling).
    """

    topic_filter: str
    qos: int = 1
    retained: int = 1


class Received(NamedTuple):
    """A message that came in. It belongs to its connection: only that one can acknowledge it."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    packet_id: int


class Limits(NamedTuple):
    """What the broker takes, by its CONNACK."""

    receive_maximum: int = 65535
    maximum_packet_bytes: int = 256 * 1024 * 1024
    maximum_qos: int = 2
    retain_available: bool = True
