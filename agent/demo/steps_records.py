"""Steps of the tour about records: durable before acknowledged, once, and never with card data."""

from __future__ import annotations

from agent.demo import evidence
from agent.demo.parts import DemoFailed
from agent.demo.witnessed import Tour
from agent.payment_app.client import RecordRefused

CARD_NUMBER = "4111111111111111"


def sales(tour: Tour) -> str:
    for _ in range(20):
        tour.terminal.shop.sell()
    length = evidence.check_chain(tour.terminal.database)
    tour.all_acknowledged_are_there()
    return f"SQLite file: {length} entries, chain recomputed from the formula"


def duplicates(tour: Tour) -> str:
    record = tour.terminal.shop.next_record()
    first = tour.terminal.shop.record(record)
    if tour.terminal.shop.record(record) != first:
        raise DemoFailed("the same record was given another sequence")
    count = sum(entry.transaction_id == record["transaction_id"] for entry in evidence.entries(tour.terminal.database))
    if count != 1:
        raise DemoFailed(f"the same record stands {count} times in the file")
    return f"SQLite file: the record handed over twice stands once, sequence {first}"


def card_data(tour: Tour) -> str:
    for field in ("memo", "auth_code", "card_no"):
        try:
            tour.terminal.shop.sell(**{field: CARD_NUMBER})
        except RecordRefused as err:
            if err.code != "CARD_DATA_REJECTED":
                raise DemoFailed(f"card data in {field} was answered {err.code}") from err
        else:
            raise DemoFailed(f"card data in {field} was taken")
    for file in [*tour.terminal.database.parent.iterdir(), tour.terminal.agent.log_file]:
        if file.is_file() and CARD_NUMBER.encode() in file.read_bytes():
            raise DemoFailed(f"the card number is in {file}")
    return "refused in 3 fields; the number is in no file of the state folder and not in the log"
