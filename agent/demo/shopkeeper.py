"""The payment application of the demo as a process of its own, kept by the supervisor as ``shop.service``.

It reports its status, sells now and then within a lease, and leaves a file in its cache folder. Its control socket
takes one JSON object a line: ``{"get": true}``, or ``{"set": {…}}`` with ``selling`` (it sells by itself), ``customer``
(somebody stands at the counter: a sale lease is held until this is false), ``pending_reversals``, ``ready``; or
``{"do": "settle"}``. What was acknowledged stands in a file, one line each, from which a restarted till goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.demo.shop import Shop
from agent.payment_app.client import OperationRunning, PaymentError, Status
from drivers.emulators.control import ControlError, ControlServer

BATCH_NO = "000101"
_STATES: dict[str, type] = {"selling": bool, "customer": bool, "ready": bool, "pending_reversals": int}


class Shopkeeper:
    """One till. Selling and leases are threads of their own.

    Args:
        book: Lines of batch, transaction id, sequence, amount; a settlement has the amount ``-``.
    """

    def __init__(self, shop: Shop, book: Path, *, selling: bool) -> None:
        self._shop = shop
        self._book = book
        self._state: dict[str, Any] = {"selling": selling, "customer": False, "ready": True, "pending_reversals": 0}
        self._held = False
        self._refused = 0
        self._sold = 0
        self._changed = threading.Condition()
        self._go_on()
        self.reports = shop.client.report_status(self._status, every_s=5.0)

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request of the control socket; raises `ControlError`."""
        match request:
            case {"set": dict(state), **rest} if not rest:
                for name, value in state.items():
                    if type(value) is not _STATES.get(name):
                        raise ControlError(f"{name} is not one of {', '.join(_STATES)}, or of another kind")
                with self._changed:
                    self._state.update(state)
                    self._changed.notify_all()
                self.reports.report_now()
            case {"do": "settle", **rest} if not rest:
                batch_no = self._shop.batch_no
                try:
                    self._write(batch_no, *self._last(self._shop.settle()), "-")
                except PaymentError as err:
                    raise ControlError(f"not settled: {err}") from err
            case {"get": True, **rest} if not rest:
                pass
            case _:
                raise ControlError('a request is {"get": true}, {"set": {…}} or {"do": "settle"}')
        counters = {"sold": self._sold, "lease_held": int(self._held), "refused": self._refused}
        return {"port": "", "state": dict(self._state), "counters": counters, "last_slip": []}

    def keep_selling(self) -> None:
        """For ever: a sale every few seconds, while told to."""
        rng = random.Random()  # noqa: S311  # when the next customer comes
        while True:
            with self._changed:
                self._changed.wait(timeout=rng.uniform(1, 4))
                wanted = self._state["selling"] and not self._state["customer"]
            if wanted:
                with contextlib.suppress(PaymentError), self._shop.client.sale(wait_s=1.0):
                    self._note(self._shop.next_record())

    def keep_customers(self) -> None:
        """For ever: hold a lease as long as a customer stands at the counter."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._state["customer"])
            try:
                with self._shop.client.sale(lease_s=60):
                    with self._changed:
                        self._held = True
                        self._changed.wait_for(lambda: not self._state["customer"])
                    self._note(self._shop.next_record())
            except OperationRunning:
                self._refused += 1
                with self._changed:
                    self._changed.wait(timeout=0.2)
            except PaymentError:
                with self._changed:
                    self._changed.wait(timeout=0.5)
            finally:
                self._held = False

    def _note(self, record: dict[str, Any]) -> None:
        sequence = self._shop.record(record)
        self._write(record["batch_no"], record["transaction_id"], sequence, record["amount_minor"])
        self._sold += 1

    def _last(self, sequence: int) -> tuple[str, int]:
        return self._shop.acknowledged[-1][0], sequence

    def _write(self, *words: object) -> None:
        with self._book.open("a") as book:
            book.write(" ".join(map(str, words)) + "\n")

    def _go_on(self) -> None:
        lines = [line.split() for line in self._book.read_text().splitlines()] if self._book.exists() else []
        batch_no, unsettled = BATCH_NO, list[int]()
        for batch, _transaction_id, _sequence, amount in lines:
            batch_no = f"{int(batch) + 1:06d}" if amount == "-" else batch
            unsettled = [] if amount == "-" else [*unsettled, int(amount)]
        self._shop.go_on_from(batch_no, len(lines), unsettled)

    def _status(self) -> Status:
        with self._changed:
            state = dict(self._state)
        return Status(state["ready"], True, self._shop.batch_no, pending_reversals=state["pending_reversals"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM."""
    import asyncio  # noqa: PLC0415  # only for the control socket

    parser = argparse.ArgumentParser(prog="python -m agent.demo.shopkeeper")
    for name in ("--socket", "--control", "--book", "--cache"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--provider", "--mid", "--tid"):
        parser.add_argument(name, required=True)
    parser.add_argument("--selling", action="store_true")
    options = parser.parse_args(argv)
    options.cache.mkdir(parents=True, exist_ok=True)
    (options.cache / "prices").write_text("bread 1990\n")
    shop = Shop(options.socket, options.provider, options.mid, options.tid, batch_no=BATCH_NO)
    keeper = Shopkeeper(shop, options.book, selling=options.selling)

    async def serve() -> None:
        server = ControlServer(options.control, keeper.handle)
        await server.start()
        with keeper.reports:
            for work in (keeper.keep_selling, keeper.keep_customers):
                threading.Thread(target=work, daemon=True).start()
            _say_ready()
            await asyncio.Event().wait()

    asyncio.run(serve())
    return 0


def _say_ready() -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", "\0" + address[1:])


if __name__ == "__main__":
    sys.exit(main())
