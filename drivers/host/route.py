"""The way to other networks: default routes, and whether the gateway is there. Nothing is sent to find out.

Source: ``net/route``, ``net/ipv6_route`` and ``net/arp`` of procfs. IPv4 addresses stand there as hexadecimal numbers
in the machine's byte order, IPv6 ones as plain digits. Left out: policy routing, IPv6 neighbours (netlink only).
"""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path
from typing import Final

from drivers.errors import HostSourceError
from drivers.host.source_file import SourceFile, is_absent
from drivers.host_contract import DefaultRoute, RouteReading

_UP: Final = 0x1
_REJECT: Final = 0x200
_COMPLETE: Final = 0x2  # of a neighbour: its hardware address is known
_NO_GATEWAY: Final = "0.0.0.0"  # noqa: S104  # an address in a table, nothing is bound to it
_IPV4_HEAD: Final = b"Iface\t"
_IPV4_REST: Final = rb"\t([0-9A-F]{8})\t([0-9A-F]{4})\t\d+\t\d+\t(\d{1,10})\t"
_IPV4_DEFAULT: Final = re.compile(rb"^(\S{1,15})\t0{8}" + _IPV4_REST + rb"0{8}\t\d+\t\d+\t\d+ *$", re.MULTILINE)
_IPV4_LINE: Final = re.compile(rb"\S{1,15}\t[0-9A-F]{8}" + _IPV4_REST + rb"[0-9A-F]{8}\t\d+\t\d+\t\d+ *")
_IPV6_REST: Final = (
    rb" [0-9a-f]{32} [0-9a-f]{2} ([0-9a-f]{32}) ([0-9a-f]{8}) [0-9a-f]{8} [0-9a-f]{8} ([0-9a-f]{8}) +(\S{1,15})"
)
_IPV6_DEFAULT: Final = re.compile(rb"^0{32} 00" + _IPV6_REST + rb"$", re.MULTILINE)
_IPV6_LINE: Final = re.compile(rb"[0-9a-f]{32} [0-9a-f]{2}" + _IPV6_REST)
_ARP_HEAD: Final = b"IP address "
_ARP_LINE: Final = re.compile(rb"[\d.]+ +0x[0-9a-f]+ +0x([0-9a-f]+) +\S+ +\S+ +(\S{1,15})\n")


class RouteSource:
    """Each table is read whole; one that this kernel does not have counts as empty. A table as before is not parsed."""

    name = "route"

    def __init__(self, procfs: Path) -> None:
        self._ipv4, self._ipv6, self._arp = (
            SourceFile(str(procfs / "net" / name), self.name, may_be_empty=True)
            for name in ("route", "ipv6_route", "arp")
        )
        self._tables: tuple[bytes, bytes, bytes] | None = None
        self._reading = RouteReading(None, None, None)

    def read(self) -> RouteReading:
        before, self._tables = self._tables, None
        ipv4 = self._table(self._ipv4)
        if before is not None and before[0] == ipv4 and self._reading.ipv4 is not None:
            default: DefaultRoute | None = self._reading.ipv4
        else:
            default = parse_ipv4_default(ipv4, self._ipv4.path) if ipv4 else None
        ipv6 = self._table(self._ipv6) if default is None else b""
        arp = self._table(self._arp) if default is not None and default.gateway is not None else b""
        tables = (ipv4, ipv6, arp)
        if tables != before:
            answers = None
            if arp and default is not None and default.gateway is not None:
                answers = parse_neighbour(arp, default.gateway, default.interface, self._arp.path)
            other = parse_ipv6_default(ipv6, self._ipv6.path) if ipv6 else None
            self._reading = RouteReading(default, other, answers)
        self._tables = tables
        return self._reading

    @staticmethod
    def _table(file: SourceFile) -> bytes:
        try:
            return file.read_whole()
        except HostSourceError as err:
            if is_absent(err):
                return b""
            raise


def parse_ipv4_default(content: bytes, path: str) -> DefaultRoute | None:
    """The default route with the smallest metric, of ``net/route``.

    Raises:
        HostSourceError: Not that table.
    """
    if not content.startswith(_IPV4_HEAD):
        raise HostSourceError(RouteSource.name, path, "is not the table of routes")
    best: tuple[int, DefaultRoute] | None = None
    for found in _matches(content, _IPV4_DEFAULT, _IPV4_LINE, path, head=1):
        interface, gateway, flags, metric = found.groups()
        if int(flags, 16) & (_UP | _REJECT) == _UP and (best is None or int(metric) < best[0]):
            address = socket.inet_ntoa(int(gateway, 16).to_bytes(4, sys.byteorder))
            best = int(metric), DefaultRoute(interface.decode(), None if address == _NO_GATEWAY else address)
    return best[1] if best else None


def parse_ipv6_default(content: bytes, path: str) -> DefaultRoute | None:
    """The same of ``net/ipv6_route``, which has no head. What the kernel keeps at ``lo`` to refuse packets is no way.

    Raises:
        HostSourceError: Not that table.
    """
    best: tuple[int, DefaultRoute] | None = None
    for found in _matches(content, _IPV6_DEFAULT, _IPV6_LINE, path, head=0):
        gateway, metric, flags, interface = found.groups()
        usable = int(flags, 16) & (_UP | _REJECT) == _UP and interface != b"lo"
        if usable and (best is None or int(metric, 16) < best[0]):
            address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(gateway.decode()))
            best = int(metric, 16), DefaultRoute(interface.decode(), None if address == "::" else address)
    return best[1] if best else None


def parse_neighbour(content: bytes, address: str, interface: str, path: str) -> bool | None:
    """Does the kernel know the hardware address of this neighbour? None when it has not asked lately.

    Raises:
        HostSourceError: Not the table ``net/arp``.
    """
    if not content.startswith(_ARP_HEAD):
        raise HostSourceError(RouteSource.name, path, "is not the table of neighbours")
    start = content.find(b"\n%b " % address.encode())
    while start >= 0:
        found = _ARP_LINE.match(content, start + 1)
        if found is None:
            raise HostSourceError(RouteSource.name, path, "holds a line that is no neighbour")
        if found[2] == interface.encode():
            return bool(int(found[1], 16) & _COMPLETE)
        start = content.find(b"\n%b " % address.encode(), start + 1)
    return None


def _matches(
    content: bytes, wanted: re.Pattern[bytes], line: re.Pattern[bytes], path: str, *, head: int
) -> list[re.Match[bytes]]:
    """Default routes. A table without one is looked through whole: rubbish is no proof that there is no way."""
    found = list(wanted.finditer(content))
    if not found:
        for one in content.split(b"\n")[head:]:
            if one and line.fullmatch(one) is None:
                raise HostSourceError(RouteSource.name, path, "holds a line that is no route")
    return found
