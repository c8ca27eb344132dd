"""What kind of operation an order is, for the interlocks. What holds each kind back stands in ``interlocks.py``."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Operation(StrEnum):
    """Classes of operations: what one could do to sales and money. The columns of the table of interlocks."""

    READING = "reading"  # asks, or tells; touches nothing
    TEST = "test"  # a device acts where people see it
    DEVICE = "device"  # a device is recovered or set to its standard state
    APP_RESET = "app_reset"  # a payment application is restarted
    APP_REINIT = "app_reinit"  # and its caches and queues are cleared
    SERVICE = "service"  # the agent's own unit, or another listed one, is restarted
    REBOOT = "reboot"


class Touch(Struct, frozen=True):
    """What an order would do here. ``force``: two people want what would be blocked done and recorded instead.

    ``target``: what is reset; tries at the same target are counted. Empty: they are not.
    """

    operation: Operation
    force: bool = False
    target: str = ""
