"""Network, from the plug to the host at the other end."""

from __future__ import annotations

from agent.contract.fault_catalogue.kind import S2, S3, FaultKind
from agent.contract.health import Impact

KINDS = (
    FaultKind(
        "NET-LNK-001",
        S2,
        Impact.NONE,
        "A network interface has no link",
        "Check cable, plug and switch, or the wireless network; its lamp shows the link.",
    ),
    FaultKind(
        "NET-LNK-002",
        S3,
        Impact.NONE,
        "A network link comes and goes",
        "Replace the cable first, then try another port of the switch.",
    ),
    FaultKind(
        "NET-RTE-001",
        S2,
        Impact.NONE,
        "There is no way to other networks: no default route",
        "Check the link, then whether the terminal is given an address (DHCP) or has the right fixed one.",
    ),
    FaultKind(
        "NET-GWY-001",
        S2,
        Impact.NONE,
        "The gateway does not answer",
        "Check the router: its power, its lamps, and whether others at this place have the network.",
    ),
    FaultKind(
        "NET-DNS-001",
        S2,
        Impact.NONE,
        "A name cannot be resolved",
        "Check the DNS server that the network gives; if other names resolve, ask the owner of this one.",
    ),
    FaultKind(
        "NET-DNS-002",
        S2,
        Impact.NONE,
        "A name resolves to an address that is not expected",
        "Do not enter anything: the network may lead elsewhere. Compare with the pinned ranges, try another network.",
    ),
    FaultKind(
        "NET-TCP-001",
        S2,
        Impact.NONE,
        "A configured host cannot be reached, or only slowly",
        "If other hosts can be reached, the firewall or the host itself is in the way: call its operator.",
    ),
    FaultKind(
        "NET-TLS-001",
        S2,
        Impact.NONE,
        "The host's certificate is not valid, or no TLS comes about",
        "Check the terminal's date first; then take another network. Until it is explained, treat it as interception.",
    ),
    FaultKind(
        "NET-TLS-002",
        S3,
        Impact.NONE,
        "The host's certificate expires soon",
        "Tell the operator of the host; nothing needs to be done at the terminal.",
    ),
    FaultKind(
        "NET-CPT-001",
        S2,
        Impact.NONE,
        "The network asks for a log-in page before it lets anything through",
        "Use a network without such a page, or have the terminal let through by its owner.",
    ),
    FaultKind(
        "NET-WLN-001",
        S3,
        Impact.NONE,
        "The wireless signal is weak",
        "Move the terminal or the access point closer together; metal and ovens between them harm most.",
    ),
    FaultKind(
        "NET-CEL-001",
        S3,
        Impact.NONE,
        "The cellular signal is weak",
        "Move the terminal to a window, or fit an outside aerial.",
    ),
    FaultKind(
        "NET-MQT-001",
        S3,
        Impact.NONE,
        "The broker cannot be reached",
        "Selling goes on. Check network and firewall; the agent connects again by itself.",
    ),
)
