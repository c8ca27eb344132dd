"""What the configuration says about the network to be watched: ``[network]`` and ``[[reach]]``. For ``config.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Annotated

from msgspec import Meta, Struct

from agent.model_file import RESERVED_NAMES, Id

HOSTS_LIMIT = 8

HostName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}\Z")]


class Network(Struct, frozen=True, forbid_unknown_fields=True):
    """``[network]``."""

    interfaces: tuple[Annotated[str, Meta(pattern=r"^[^/\s]{1,15}\Z")], ...] = ()
    reach_interval_s: Annotated[float, Meta(ge=1, le=86400)] = 60.0
    certificate_warn_days: Annotated[int, Meta(ge=1, le=365)] = 14


class Reach(Struct, frozen=True, forbid_unknown_fields=True):
    """One host that this terminal must reach."""

    name: Id
    host: HostName
    port: Annotated[int, Meta(ge=1, le=65535)]
    tls: bool = True
    ca_file: Annotated[str, Meta(pattern=r"^/[^\x00-\x1f]{0,4000}\Z")] | None = None
    server_name: HostName | None = None
    expected: tuple[Annotated[str, Meta(max_length=50)], ...] = ()
    required: bool = False


def reach_problems(hosts: Sequence[Reach], devices: Set[str]) -> Iterator[tuple[str, str]]:
    """What single keys cannot show, as (key, text). ``devices``: names that are taken already."""
    if len(hosts) > HOSTS_LIMIT:
        yield "reach", f"there are {len(hosts)} hosts; at most {HOSTS_LIMIT} are watched"
    names = [one.name for one in hosts]
    for index, one in enumerate(hosts):
        if one.name in RESERVED_NAMES or one.name in devices:
            yield f"reach[{index}].name", f"the name {one.name} is taken by a device or a part of the board"
        if one.name in names[:index]:
            yield f"reach[{index}].name", f"the name {one.name} stands twice"
        if not one.tls and (one.ca_file or one.server_name):
            yield f"reach[{index}].tls", "is false, so ca_file and server_name mean nothing: leave them out"
        for network in one.expected:
            if not _is_network(network):
                yield (
                    f"reach[{index}].expected",
                    "holds something that is no address and no range such as 203.0.113.0/24",
                )


def _is_network(text: str) -> bool:
    import ipaddress  # noqa: PLC0415  # only where ranges are given

    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
