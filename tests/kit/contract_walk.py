"""A terminal as a stranger meets it: real agent, real broker, emulated printer; spoken to by topics and sockets alone.

For the walks along the contract's words (``tests/walks/test_contract_*.py``). Nothing of the agent's inside is used but
the signing side in ``tests/kit/orders.py``; the SQLite file is opened read-only, as an auditor would.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.kit import orders
from tests.kit.agent_process import AgentProcess, call
from tests.kit.broker import Broker, Seen, Watcher, collect, subscribe

SITE, TERMINAL = "shop-1", "T-0001"
BASE = f"pos/v1/{SITE}/{TERMINAL}/"
EVERYTHING = f"pos/v1/{SITE}/#"
STATE_FIELDS = [
    *("command_id", "name", "state", "rev", "step", "steps", "progress", "reason", "accepted_at", "updated_at"),
    "result",
]
FINAL = {"succeeded", "failed", "rolled_back", "rejected", "expired", "cancelled"}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def uplink(port: int, **changes: Any) -> dict[str, Any]:
    """``[uplink]`` to a broker on loopback, quick to come back."""
    quick = {"backoff_first_s": 0.1, "backoff_limit_s": 0.4, "metrics_interval_s": 0.5, "down_fault_after_s": 1.0}
    return {"host": "127.0.0.1", "port": port, "tls": False, **quick, **changes}


class Terminal:
    """One agent below ``folder``. ``config`` is laid over a quick development configuration."""

    def __init__(
        self,
        folder: Path,
        port: int,
        config: Mapping[str, Any] | None = None,
        *,
        policy: bytes | None = None,
        models: Mapping[str, str] | None = None,
    ) -> None:
        changes = {"uplink": uplink(port), "health": {"interval_s": 0.2, "read_deadline_s": 0.5}, **(config or {})}
        self.port = port
        self.agent = AgentProcess(folder, changes)
        self.control = self.agent.run / "control.sock"
        self.payment = self.agent.run / "payment.sock"
        self.database = self.agent.state / "agent.db"
        if policy is not None:
            (folder / "etc" / "policy.json").write_bytes(policy)
        for name, text in (models or {}).items():
            (folder / "etc" / "models").mkdir(exist_ok=True)
            (folder / "etc" / "models" / f"{name}.toml").write_text(text)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows from the agent's file, opened read-only."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10.0)) as db:
            return db.execute(statement, values).fetchall()

    def rows(self) -> int:
        """How many orders have a row."""
        return int(self.query("SELECT count(*) FROM commands")[0][0])

    def run(self, **params: Any) -> dict[str, Any]:
        """``command.run`` on the control socket; the whole answer."""
        return call(self.control, "command.run", params)

    def ask(self, method: str, **params: Any) -> Any:
        """A call on the control socket that must succeed; its result."""
        answer = call(self.control, method, params)
        assert "result" in answer, answer
        return answer["result"]


def said(message: Seen) -> Any:
    """The JSON of a message."""
    return json.loads(message.payload)


def matching(messages: Sequence[Seen], below: str) -> list[Seen]:
    """Messages on one Topic Name below the terminal's own level."""
    return [message for message in messages if message.topic == BASE + below]


async def now(broker: Broker, below: str, **options: Any) -> Any:
    """What is retained on a topic (waits for the first message)."""
    [message] = await collect(broker, BASE + below, **options)
    return said(message)


async def until(broker: Broker, below: str, condition: Any, timeout_s: float = 15.0) -> Any:
    """The first content of a topic for which ``condition`` holds, retained or published later."""
    async with subscribe(broker, BASE + below) as watcher:
        seen = await watcher.until(lambda all_: any(condition(said(one)) for one in all_ if one.payload), timeout_s)
        return next(said(one) for one in seen if one.payload and condition(said(one)))


async def online(broker: Broker) -> None:
    """The agent has a link and has subscribed; an order sent before its very first one would reach nobody."""
    await until(broker, "agent/status", lambda status: status["online"])


async def order(watcher: Watcher, payload: Mapping[str, Any], signers: Sequence[orders.Signer] | None = None) -> str:
    """Publish a signed order below ``in/req/`` of its own name; its id."""
    envelope = orders.signed_order(payload, signers or (orders.SUPPORT,))
    await watcher.publish(f"{BASE}in/req/{payload['name']}", envelope)
    return str(payload["command_id"])


async def outcome(watcher: Watcher, name: str, command_id: str, timeout_s: float = 15.0) -> dict[str, Any]:
    """The final state of an order, as published; the watcher must see the operation's topic."""
    topic = f"{BASE}agent/op/{name}/{command_id}"

    def final(messages: Sequence[Seen]) -> list[dict[str, Any]]:
        states = [said(one) for one in messages if one.topic == topic and one.payload]
        return [state for state in states if state["state"] in FINAL]

    return final(await watcher.until(lambda seen: bool(final(seen)), timeout_s))[-1]


async def settled(watcher: Watcher) -> None:
    """Everything published by this watcher before is taken or refused by now: requests are taken in order."""
    payload = orders.order_payload()
    await order(watcher, payload)
    assert (await outcome(watcher, "ping", payload["command_id"]))["state"] == "succeeded"
