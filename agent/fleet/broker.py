"""The operator's own link to the broker: the agent's MQTT link with a session that leaves nothing behind."""

from __future__ import annotations

import argparse
import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from agent.errors import BadRequest, LinkDown, PublishRefused, Refused
from agent.uplink import link as mqtt
from agent.uplink.broker import Broker, Subscription

DEFAULT_CONNECT_S = 10.0


class Message(NamedTuple):
    topic: str
    payload: bytes
    retained: bool


class Line:
    """An open link. Every method raises `LinkDown` once it is lost."""

    def __init__(self, link: mqtt.Link) -> None:
        self._link = link

    async def subscribe(self, filters: Sequence[str], *, only_new: bool = False) -> None:
        """Subscribe at QoS 1; retained messages come first, or with ``only_new`` not at all (MQTT 3.1.1: all the same).

        Raises:
            Refused: The broker does not let this operator read one of ``filters``.
        """
        granted = await self._link.subscribe([Subscription(one, retained=2 if only_new else 0) for one in filters])
        for topic_filter, reason_code in zip(filters, granted, strict=True):
            if reason_code >= mqtt.FAILURE:
                raise Refused(
                    f"the broker does not let you read {topic_filter} (0x{reason_code:02X})",
                    reason="BROKER_REFUSED",
                    hint="its access list must let operators read below pos/v1/<site>/",
                )

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, not retained; returns when the broker has it.

        Raises:
            Refused: The broker does not take it.
        """
        try:
            await self._link.publish(topic, payload)
        except PublishRefused as err:
            raise Refused(
                f"the broker does not take {topic}: {err.message}",
                reason="BROKER_REFUSED",
                hint="its access list must let operators write below pos/v1/<site>/<terminal>/in/",
            ) from err

    async def messages(self) -> AsyncIterator[Message]:
        """Messages as they come, without end."""
        while True:
            received = await self._link.receive()
            self._link.acknowledge(received)
            yield Message(received.topic, received.payload, received.retained)


@contextlib.asynccontextmanager
async def connect(args: argparse.Namespace) -> AsyncIterator[Line]:
    """A line by the options of `broker_options`, closed in order at the end.

    Raises:
        LinkDown: The broker cannot be reached, or the link is lost while it is used.
        BadRequest: Options that do not go together.
    """
    async with linked(args, broker_of(args)) as link:
        yield Line(link)


@contextlib.asynccontextmanager
async def linked(args: argparse.Namespace, broker: Broker) -> AsyncIterator[mqtt.Link]:
    """The link itself, for who acknowledges by himself.

    Raises:
        LinkDown: The broker cannot be reached, or the link is lost while it is used.
    """
    link = mqtt.Link(broker, f"posctl-{secrets.token_hex(8)}", persistent=False)
    try:
        async with mqtt.opened(link):
            yield link
    except LinkDown as err:
        if err.hint is None:
            err.hint = f"is {args.broker[0]}:{args.broker[1]} the broker, with or without TLS (--ca)?"
        raise


def broker_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Options of every verb that talks to the broker. ``required``: the parser itself insists on broker and site."""
    parser.add_argument("--broker", type=host_and_port, required=required, metavar="HOST:PORT")
    parser.add_argument("--site", required=required, metavar="S", help="the site of the terminals")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="use TLS; who signed the broker's certificate")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="this operator's certificate; uses TLS")
    parser.add_argument("--cert-key", type=Path, metavar="FILE", help="and its key")
    parser.add_argument("--tls", action="store_true", help="use TLS with the system's authorities")
    parser.add_argument("--protocol", choices=("5", "3.1.1"), default="5", help="of MQTT (5)")
    parser.add_argument(
        "--connect-timeout",
        type=seconds,
        default=DEFAULT_CONNECT_S,
        metavar="SECONDS",
        help=f"for the broker to answer ({DEFAULT_CONNECT_S:g})",
    )
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON, times as RFC 3339")
    parser.add_argument("--socket", help=argparse.SUPPRESS)  # every verb takes it; these need no agent


def host_and_port(text: str) -> tuple[str, int]:
    """``broker.example:8883``, ``[::1]:1883``."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit() and len(port) <= 5) or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError("the broker as HOST:PORT")
    return host, int(port)


def seconds(text: str) -> float:
    """An argument in seconds, more than 0 and at most a year."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 366 * 86_400:
        raise argparse.ArgumentTypeError("a number of seconds, more than 0")
    return value


def broker_of(args: argparse.Namespace) -> Broker:
    """The broker that the options name.

    Raises:
        BadRequest: Options that do not go together.
    """
    if (args.cert is None) != (args.cert_key is None):
        raise BadRequest("a certificate and its key go together", field="--cert, --cert-key")
    host, port = args.broker
    return Broker(
        host=host,
        port=port,
        protocol=args.protocol,
        tls=args.tls or args.ca is not None or args.cert is not None,
        ca_file=args.ca,
        certificate_file=args.cert,
        key_file=args.cert_key,
        connect_timeout_s=args.connect_timeout,
    )
