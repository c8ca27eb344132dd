"""Whatever a network loses, repeats and reorders: in the end everything is delivered, and never more than is held."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.contract.journal_upload import RESEND_S, WINDOW
from agent.contract.journal_views import EntryItem
from tests.kit.collector import signed_ack
from tests.kit.model_collector import ModelCollector
from tests.kit.upload_room import UploadRoom, all_entries, make_journal, open_copy

COUNT = 260
FIRST = 170  # are there at the beginning; the others are recorded meanwhile

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "message",
                "lose message",
                "repeat message",
                "ack",
                "lose ack",
                "repeat ack",
                "time",
                "record",
                "reconnect",
            ]
        ),
        st.integers(0, 20),
    ),
    max_size=60,
)
NETWORKS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EntryItem]]:
    folder = tmp_path_factory.mktemp("journal")
    return folder, make_journal(folder, COUNT)


class Network:
    """An uploader and a collector with everything under way between them in the test's hands."""

    def __init__(self, room: UploadRoom, later: list[EntryItem]) -> None:
        self.room = room
        self.collector = ModelCollector()
        self.later = later
        self.messages: list[bytes] = []
        self.acks: list[bytes] = []
        self.held_at_most = 0
        self._seen = 0

    async def do(self, what: str, where: int) -> None:
        queue = self.acks if what.endswith("ack") else self.messages
        if what in {"message", "ack"} and queue:
            await self._arrive(queue.pop(where % len(queue)), is_ack=what == "ack")
        elif what.startswith("lose") and queue:
            queue.pop(where % len(queue))
        elif what.startswith("repeat") and queue:
            queue.append(queue[where % len(queue)])
        elif what == "time":
            await self.room.pass_time(where * 5.0)
        elif what == "record" and len(self.later) > 1:  # the last one comes at rest: by it a loss is noticed
            await self._record(min(where + 1, len(self.later) - 1))
        elif what == "reconnect":
            await self.room.connect()
            self._seen = 0
        elif what == "set back":
            for one in self.collector.journals.values():
                one.lose(min(where, one.upto))
        self._collect()

    async def come_to_rest(self) -> None:
        """From here on nothing is lost, and time passes."""
        await self._record(len(self.later))
        self._collect()
        for _ in range(40):
            while self.messages or self.acks:
                await self.do("message", 0)
                await self.do("ack", 0)
            if self.room.window.acknowledged == COUNT:
                break
            await self.do("time", int(RESEND_S / 5))
        await self.do("time", 1)

    async def _record(self, count: int) -> None:
        await self.room.add(self.later[:count])
        del self.later[:count]

    async def _arrive(self, payload: bytes, *, is_ack: bool) -> None:
        if is_ack:
            self.room.upload.take(payload, False)
            await self.room.settle()
        else:
            self.acks.append(signed_ack(self.collector.receive(payload)))
            self.held_at_most = max(self.held_at_most, self.collector.journal().upto)

    def _collect(self) -> None:
        sent = self.room.wire.sent
        self.messages += [one.payload for one in sent[self._seen :]]
        self._seen = len(sent)
        assert self.room.window.messages <= WINDOW


def _play(
    journal: tuple[Path, list[EntryItem]], actions: list[tuple[str, int]], check: Callable[[Network], None]
) -> None:
    async def play(room: UploadRoom) -> None:
        room.db.execute("DELETE FROM entries WHERE sequence > ?", (FIRST,))
        network = Network(room, list(journal[1][FIRST:]))
        await network.do("reconnect", 0)
        for what, where in actions:
            await network.do(what, where)
            check(network)
        await network.come_to_rest()
        held = network.collector.journal()
        assert (room.delivered, held.upto, room.window.acknowledged) == (COUNT, COUNT, COUNT)
        assert [item["hash"] for _, item in sorted(held.entries.items())] == [one.hash for one in all_entries(room.db)]
        assert held.forks == []
        assert not any(active for active, _detail in room.disputes)
        assert room.refused == []
        await room.cut()

    with tempfile.TemporaryDirectory() as folder:
        room = UploadRoom(open_copy(journal[0], Path(folder)))
        try:
            asyncio.run(play(room))
        finally:
            room.close()


@NETWORKS
@given(ACTIONS)
def test_everything_arrives_in_order_and_delivered_never_exceeds_what_is_held(
    journal: tuple[Path, list[EntryItem]], actions: list[tuple[str, int]]
) -> None:
    def never_more_than_is_held(network: Network) -> None:
        held = network.collector.journal().upto if network.collector.journals else 0
        assert network.room.delivered <= network.room.window.acknowledged <= held

    _play(journal, actions, never_more_than_is_held)


@NETWORKS
@given(st.lists(st.tuples(st.just("set back"), st.integers(1, 80)) | ACTIONS.map(lambda some: some[:5]), max_size=12))
def test_a_collector_that_loses_entries_again_and_again_has_all_of_them_in_the_end(
    journal: tuple[Path, list[EntryItem]], parts: list[tuple[str, int] | list[tuple[str, int]]]
) -> None:
    actions = list(itertools.chain.from_iterable(one if isinstance(one, list) else [one] for one in parts))

    def never_more_than_was_ever_held(network: Network) -> None:
        assert network.room.delivered <= network.held_at_most

    _play(journal, actions, never_more_than_was_ever_held)
