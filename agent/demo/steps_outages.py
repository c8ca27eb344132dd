"""Steps of the tour about what breaks: the agent killed, the broker gone, and an orderly stop."""

from __future__ import annotations

import contextlib
import threading

from agent.demo import evidence
from agent.demo.parts import DemoFailed, wait_until
from agent.demo.terminal import AGENT_UNIT
from agent.demo.witnessed import Tour
from agent.payment_app.client import PaymentError


def _sell_until_it_fails(tour: Tour) -> None:
    with contextlib.suppress(PaymentError):
        while True:
            tour.terminal.shop.sell()


def killed(tour: Tour) -> str:
    before, invocation = len(tour.terminal.shop.acknowledged), tour.terminal.agent.state["invocation"]
    seller = threading.Thread(target=_sell_until_it_fails, args=(tour,))
    seller.start()
    wait_until("30 sales under way", lambda: len(tour.terminal.shop.acknowledged) >= before + 30)
    tour.terminal.agent.kill()
    seller.join()
    tour.terminal.agent.await_another(invocation)
    tour.terminal.shop.client.retry()
    tour.terminal.shop.sell()
    survived = tour.all_acknowledged_are_there()
    evidence.check_chain(tour.terminal.database)
    tour.broker.wait_retained(f"{tour.terminal.prefix}agent/status", {"online": True})
    return f"SQLite file: {survived} acknowledged, {survived} there after SIGKILL, chain whole"


def broker_gone(tour: Tour) -> str:
    tour.terminal.broker.kill()
    for _ in range(5):
        tour.terminal.shop.sell()
    tour.printer(cover_open=True)
    tour.terminal.broker.start()
    tour.await_health("printer-0", timeout_s=60, state="failed")
    tour.printer(cover_open=False)
    tour.await_health("printer-0", state="ok")
    tour.all_acknowledged_are_there()
    return "5 sales without a broker; broker: the cover opened meanwhile is told after its return"


def orderly_stop(tour: Tour) -> str:
    tour.terminal.supervisor.stop()
    code = tour.terminal.supervisor.last_exit_code(AGENT_UNIT)
    if code != 0:
        raise DemoFailed(f"the agent ended with {code}; log: {tour.terminal.agent.log_file}")
    tour.broker.wait_retained(f"{tour.terminal.prefix}agent/status", {"online": False})
    wait_until("sockets to be gone", lambda: not tour.terminal.payment_socket.exists(), 5)
    length = evidence.check_chain(tour.terminal.database)
    return f"exit 0; broker: online false; SQLite file: {length} entries, chain whole"
