"""The two sockets: made here or handed over by systemd, each with its methods."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.backup.copies import Backups
from agent.commands.inbox import Inbox
from agent.commands.intake import LocalCaller
from agent.config import Loaded
from agent.contract.rpc import ConfigResult
from agent.health.history import HealthHistory
from agent.health.monitor import Monitor
from agent.local_api import listening, peer
from agent.local_api.about import About
from agent.local_api.control import ControlMethods, ControlSubjects
from agent.local_api.events import Announcements, subscribing
from agent.local_api.limits import CONTROL_LIMITS, PAYMENT_LIMITS
from agent.local_api.payment import PaymentMethods
from agent.local_api.sales import SaleMethods
from agent.local_api.server import CONTROL_RIGHTS, PAYMENT_RIGHTS, Door, LocalServer
from agent.runtime.descriptors import allow_descriptors
from agent.selling.selling import Sales
from agent.store.transactions import TransactionJournal
from agent.workflow.journal import RunJournal

OTHER_DESCRIPTORS: Final = 256
"""Beside the peers': database, devices, the broker, sources of the board."""


def build_doors(
    loaded: Loaded,
    *,
    journal: TransactionJournal,
    monitor: Monitor,
    history: HealthHistory,
    backups: Backups,
    inbox: Inbox,
    sales: Sales,
    announcements: Announcements,
    runs: RunJournal,
    about: About,
    on_card_data: Callable[[str], None],
) -> list[LocalServer]:
    """``payment.sock`` and ``control.sock``, not opened yet."""
    settings = loaded.settings
    bindings = frozenset((one.provider, one.mid, one.tid) for one in settings.binding)
    payment = {
        **PaymentMethods(journal, bindings=bindings, on_card_data=on_card_data).table(),
        **SaleMethods(sales, lambda: monitor.snapshot().readiness).table(),
        "events.subscribe": subscribing(peer.PAYMENT),
    }
    control = ControlMethods(
        ControlSubjects(
            journal=journal,
            info=about.info,
            health=monitor.snapshot,
            history=history.page,
            backups=backups.page,
            order=lambda order, caller: inbox.order(order, LocalCaller(caller.uid, caller.rights)),
            command=runs.get,
            commands=runs.list,
            config=lambda: ConfigResult(loaded.digest),
            metrics=about.metrics,
        )
    ).table()
    inherited = listening.inherited_sockets(os.environ, os.getpid())
    groups = peer.group_ids()
    run = Path(settings.paths.run)
    payment_door = Door("payment", run / "payment.sock", peer.PAYMENT, PAYMENT_RIGHTS, inherited.get("payment"))
    control_door = Door("control", run / "control.sock", peer.SUPPORT, CONTROL_RIGHTS, inherited.get("control"))
    doors = [
        LocalServer(payment_door, payment, PAYMENT_LIMITS, groups=groups, on_card_data=on_card_data),
        LocalServer(control_door, control, CONTROL_LIMITS, groups=groups, on_card_data=on_card_data),
    ]
    allow_descriptors(sum(door.limits.connections for door in doors) + OTHER_DESCRIPTORS)
    announcements.heard_at(payment=doors[0], control=doors[1])
    return doors
