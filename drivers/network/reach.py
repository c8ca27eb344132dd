"""Reach a host: name, TCP connection, TLS with certificate check, each timed. No message is sent, no payment either.

Everything runs on the event loop but resolving, which is handed in: a resolver may hang for longer than anybody waits.
Left out: proxies, client certificates (a host that wants one is reached all the same), what is spoken above TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from drivers.reach_contract import (
    CONNECT_LIMIT_S,
    HANDSHAKE_LIMIT_S,
    RESOLVE_LIMIT_S,
    ReachReading,
    ReachTarget,
    Resolve,
    Resolved,
    Stage,
)

_ADDRESSES_TRIED: Final = 4
_ADDRESSES_KEPT: Final = 16
_GOODBYE_S: Final = 0.5
_NO_SUCH_NAME: Final = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})


def look_up(target: ReachTarget) -> Resolved:
    """Ask the system's resolver. Blocks for as long as that does; never raises."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except socket.gaierror as err:
        if err.errno in _NO_SUCH_NAME:
            return Resolved((), "the name does not exist")
        words = "no name server answers" if err.errno == socket.EAI_AGAIN else err.strerror or "the resolver failed"
        return Resolved((), words)
    except (OSError, UnicodeError) as err:
        return Resolved((), f"the resolver failed: {type(err).__name__}")
    return Resolved(tuple(dict.fromkeys(str(address[4][0]) for address in found))[:_ADDRESSES_KEPT])


class TcpReach:
    """One `ReachTarget`. The trusted authorities are read anew at each attempt: they may change, and take memory."""

    def __init__(
        self,
        target: ReachTarget,
        resolve: Resolve,
        *,
        connect_limit_s: float = CONNECT_LIMIT_S,
        handshake_limit_s: float = HANDSHAKE_LIMIT_S,
    ) -> None:
        self.name = target.name
        self._target = target
        self._resolve = resolve
        self._connect_limit_s = connect_limit_s
        self._handshake_limit_s = handshake_limit_s

    async def read(self) -> ReachReading:
        """See `drivers.reach_contract.HostReach`."""
        target, loop = self._target, asyncio.get_running_loop()
        context = None
        if target.tls:
            try:
                context = _context(target.ca_file)
            except OSError as err:  # SSLError is one: the file holds no certificate
                why = f"ca_file cannot be used: {err.strerror or 'it holds no certificate'}"
                return ReachReading(failed=Stage.SETTINGS, why=why)
        begun_s = loop.time()
        literal = _is_address(target.host)
        resolved = Resolved((target.host,)) if literal else await self._resolve(target, RESOLVE_LIMIT_S)
        reading = ReachReading(resolved.addresses, None if literal else loop.time() - begun_s)
        if not resolved.addresses:
            return replace(reading, failed=Stage.NAME, why=resolved.problem)
        connected = await self._connect(resolved.addresses)
        if isinstance(connected, str):
            return replace(reading, failed=Stage.CONNECT, why=connected)
        connection, connect_s = connected
        reading = replace(reading, connect_s=connect_s)
        if context is None:
            connection.close()
            return reading
        return await self._shake_hands(connection, context, reading)

    async def _connect(self, addresses: Sequence[str]) -> tuple[socket.socket, float] | str:
        """A connection and the time it took, or why there is none. Each address gets its share of the time."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + self._connect_limit_s
        tried = addresses[:_ADDRESSES_TRIED]
        why = ""
        for index, address in enumerate(tried):
            begun_s = loop.time()
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            try:
                connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError as err:
                why = f"{address}: {err.strerror}"
                continue
            try:
                async with asyncio.timeout((ends_s - begun_s) / (len(tried) - index)):
                    await loop.sock_connect(connection, (address, self._target.port))
            except BaseException as err:
                connection.close()
                if not isinstance(err, OSError):  # TimeoutError is one
                    raise
                words = os.strerror(err.errno) if err.errno else "no answer"  # asyncio has words of its own
                why = f"{address} port {self._target.port}: {words}"
                continue
            return connection, loop.time() - begun_s
        return why

    async def _shake_hands(
        self, connection: socket.socket, context: ssl.SSLContext, reading: ReachReading
    ) -> ReachReading:
        """The same reading with what TLS gives; the connection is closed."""
        loop = asyncio.get_running_loop()
        name, begun_s = self._target.server_name or self._target.host, loop.time()
        try:
            async with asyncio.timeout(self._handshake_limit_s):
                transport, goodbye = await loop.create_connection(
                    _Goodbye, sock=connection, ssl=context, server_hostname=name, ssl_shutdown_timeout=_GOODBYE_S
                )
        except ssl.SSLCertVerificationError as err:
            return replace(reading, failed=Stage.CERTIFICATE, why=err.verify_message.rstrip("."))
        except ssl.SSLError as err:
            return replace(
                reading, failed=Stage.TLS, why=f"no TLS: {(err.reason or 'failed').replace('_', ' ').lower()}"
            )
        except TimeoutError:
            return replace(reading, failed=Stage.TLS, why=f"no TLS within {self._handshake_limit_s:g} s")
        except OSError as err:
            return replace(reading, failed=Stage.TLS, why=f"no TLS: {err.strerror or 'the connection was closed'}")
        handshake_s = loop.time() - begun_s
        certificate = transport.get_extra_info("peercert") or {}
        until = certificate.get("notAfter")
        transport.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(goodbye.said.wait(), _GOODBYE_S)
        transport.abort()
        until_s = None if until is None else float(ssl.cert_time_to_seconds(until))
        return replace(reading, handshake_s=handshake_s, certificate_until_s=until_s)


class _Goodbye(asyncio.Protocol):
    """Takes nothing and says nothing; knows when the connection is closed."""

    def __init__(self) -> None:
        self.said = asyncio.Event()

    def connection_lost(self, _error: Exception | None) -> None:
        self.said.set()


def _context(ca_file: str | None) -> ssl.SSLContext:
    """Without a file the system's folder of authorities, from which OpenSSL takes the one it needs: reading the whole
    bundle would cost 10 ms and 1.3 MB each time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
        return context
    folder = ssl.get_default_verify_paths().capath
    if folder is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(capath=folder)
    return context


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return True
    return False
