"""Every verb of ``posctl`` that talks to the control socket, in the order of its help. One line a verb."""

from __future__ import annotations

from agent.ctl.verb import Verb
from agent.ctl.verbs.backup import BACKUP
from agent.ctl.verbs.check import CHECK
from agent.ctl.verbs.command import COMMAND
from agent.ctl.verbs.journal import JOURNAL
from agent.ctl.verbs.status import HEALTH, READY, STATUS
from agent.ctl.verbs.top import TOP
from agent.ctl.verbs.txn import TXN

VERBS: tuple[Verb, ...] = (STATUS, HEALTH, CHECK, READY, TOP, TXN, COMMAND, BACKUP, JOURNAL)
