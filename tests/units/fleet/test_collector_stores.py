"""Both stores under the same tests: a SQLite file and a real PostgreSQL server."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agent.ctl.__main__ import main
from agent.errors import BadRequest, NeedsPerson, StoreUnavailable
from agent.fleet.collector import postgres_store, reading
from agent.fleet.collector.database import open_store
from agent.fleet.collector.ledger import MAX_ASKED, Posted
from tests.kit.postgres import Postgres
from tests.kit.swarm import Book
from tests.units.fleet.collector_store import Post, held_hashes

WAIT_S = 7.0


@pytest.fixture
def post(store: str) -> Iterator[Post]:
    opened = Post(store)
    yield opened
    opened.close()


def book(terminal: str, entries: int, journal_id: str | None = None) -> Book:
    made = Book(terminal, journal_id)
    made.write(entries)
    return made


def continuing(parent: Book, base: int, entries: int) -> Book:
    """A journal that a restore began after entry ``base`` of ``parent``."""
    child = Book(parent.terminal, "0192f6d0-0000-7000-8000-0000000000cc", shop="restored", parent=parent, base=base)
    child.write(entries)
    return child


def test_entries_are_held_once_however_often_they_come(post: Post) -> None:
    one, two = book("T-1", 20), book("T-2", 20)
    assert post.heads(post.send((one, 1, 10), (two, 1, 5))) == [(10, None), (5, None)]
    assert post.heads(post.send((one, 1, 10), (one, 11, 20), (two, 3, 20))) == [(20, None), (20, None)]
    assert post.heads(post.send((one, 5, 15))) == [(20, None)]
    assert held_hashes(post.database) == {
        ("T-1", one.journal_id): dict(enumerate(one.hashes[1:], 1)),
        ("T-2", two.journal_id): dict(enumerate(two.hashes[1:], 1)),
    }


def test_what_came_too_early_is_durable_and_linked_by_whichever_collector_gets_the_rest(post: Post, store: str) -> None:
    one, other = book("T-1", 30), Post(store)
    assert post.send((one, 11, 20), (one, 21, 30)).told == []
    assert other.heads(other.send((one, 1, 10))) == [(30, None)]
    assert len(held_hashes(post.database)["T-1", one.journal_id]) == 30
    with post.database.reading() as session:
        assert session.rows("SELECT count(*) FROM waiting") == [(0,)]
    other.close()


def test_a_missing_part_is_asked_for_by_one_collector_alone(post: Post, store: str) -> None:
    one, other = book("T-1", 30), Post(store)
    post.send((one, 1, 10), (one, 21, 30))
    assert post.later(0.5).told == []
    assert post.heads(post.later(WAIT_S)) == [(10, 11)]
    other.now_ms = post.now_ms
    assert other.later(0).told == []
    other.close()


def test_a_beginning_that_is_gone_is_taken_with_a_gap_that_is_reported(post: Post) -> None:
    one = book("T-1", 30)
    for _asked in range(2):
        post.send((one, 21, 25))
        assert post.heads(post.later(WAIT_S)) == [(0, 1)]
    posted = post.send((one, 21, 25))
    assert post.heads(posted) == [(25, None)]
    assert [happened.what for happened in posted.happened] == ["gap"]
    assert sorted(held_hashes(post.database)["T-1", one.journal_id]) == list(range(21, 26))
    posted = post.send((one, 1, 20))  # `restore --fill` found them after all
    with post.database.reading() as session:
        assert session.rows("SELECT count(*) FROM gaps WHERE filled_ms IS NULL") == [(0,)]
    assert [happened.what for happened in posted.happened] == ["filled"]
    assert len(held_hashes(post.database)["T-1", one.journal_id]) == 25


def test_a_fork_is_kept_apart_and_answered_with_what_is_held(post: Post) -> None:
    ours = book("T-1", 20)
    theirs = Book("T-1", ours.journal_id, shop="other", parent=ours, base=5)
    theirs.write(15)
    post.send((ours, 1, 10))
    for _again in range(2):
        posted = post.send((theirs, 6, 15))
        assert [happened.what for happened in posted.happened] == ["fork"]
        assert posted.told[0].reply.head == (10, ours.hashes[10])
    with post.database.reading() as session:
        found = session.rows("SELECT sequence, hash FROM forks ORDER BY sequence")
    assert [(sequence, bytes(hash_)) for sequence, hash_ in found] == list(enumerate(theirs.hashes[6:16], 6))
    assert held_hashes(post.database)["T-1", ours.journal_id] == dict(enumerate(ours.hashes[1:11], 1))
    assert post.heads(post.send((ours, 11, 20))) == [(20, None)]


def test_a_restored_terminal_goes_on_after_the_entry_that_its_parent_holds(post: Post) -> None:
    parent = book("T-1", 30)
    post.send((parent, 1, 30))
    child = continuing(parent, 20, 15)
    assert post.heads(post.send((child, 16, 25))) == [(25, None)]
    with post.database.reading() as session:
        assert session.rows("SELECT parent, base FROM journals WHERE journal_id = ?", (child.journal_id,)) == [
            (parent.journal_id, 20)
        ]
    assert sorted(held_hashes(post.database)["T-1", child.journal_id]) == [21, 22, 23, 24, 25]
    assert post.heads(post.send((child, 18, 28))) == [(28, None)]  # across its beginning: the parent's entries count


def test_the_birth_message_says_whose_journal_a_late_part_continues(post: Post) -> None:
    parent = book("T-1", 30)
    post.send((parent, 1, 25))
    child = continuing(parent, 30, 20)
    origin = {"parent": parent.journal_id, "base_sequence": 30, "base_hash": parent.hashes[30].hex()}
    post.birth("T-1", json.dumps({**json.loads(child.birth("S-01")), "origin": origin}).encode())
    assert post.send((child, 41, 50)).told == []
    assert post.heads(post.later(WAIT_S)) == [(25, 26)]  # from the parent's last entry on, no gap
    assert post.heads(post.send((child, 26, 40))) == [(50, None)]


def test_a_terminal_that_was_restored_before_the_store_began_is_whole_from_its_first_entry_on(
    post: Post, store: str
) -> None:
    parent = book("T-1", 30)
    child = continuing(parent, 30, 20)
    origin = {"parent": parent.journal_id, "base_sequence": 30, "base_hash": parent.hashes[30].hex()}
    post.birth("T-1", json.dumps({**json.loads(child.birth("S-01")), "origin": origin}).encode())
    assert post.heads(post.send((child, 1, 50))) == [(50, None)]
    assert post.heads(post.send((child, 31, 50))) == [(50, None)]
    with post.database.reading() as session:
        (held,) = reading.journals(session)
        assert reading.before_first(session, held) == parent.hashes[0]
    assert main(["fleet", "collect", "verify", "--store", store]) == 0


def test_a_first_entry_of_a_journal_that_is_not_the_parent_proves_nothing(post: Post) -> None:
    parent, stranger = book("T-1", 30), book("T-2", 30)
    child = continuing(parent, 30, 20)
    origin = {"parent": stranger.journal_id, "base_sequence": 30, "base_hash": parent.hashes[30].hex()}
    post.birth("T-1", json.dumps({**json.loads(child.birth("S-01")), "origin": origin}).encode())
    assert post.send((child, 1, 50)).told == []


def test_a_terminal_that_sends_card_data_is_held_up_to_there_and_counted(post: Post) -> None:
    one = book("T-1", 5)
    bad = one.message(1, 5).replace(b'"receipt_no":"000003"', b'"memo":"4111111111111111"')
    for _again in range(2):
        posted = post.raw([("T-1", bad)])
        assert post.heads(posted) == [(2, None)]
        assert [happened.what for happened in posted.happened] == ["refused"]
    with post.database.reading() as session:
        assert session.rows("SELECT reason, messages FROM refusals") == [("card_data", 2)]
        for table in ("entries", "refusals", "waiting", "forks"):
            assert "4111111111111111" not in repr(session.rows(f"SELECT * FROM {table}"))


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": "SN\0"},
        {"origin": {"parent": "\0", "base_sequence": 1, "base_hash": "00" * 32}},
        {"origin": {"parent": "p" * 90_000, "base_sequence": 1, "base_hash": "00" * 32}},
    ],
)
def test_a_birth_that_no_database_could_hold_is_refused_and_stops_nobody(post: Post, changes: dict[str, Any]) -> None:
    one = book("T-1", 5)
    born = json.dumps({**json.loads(one.birth("S-01")), **changes}).encode()
    assert [happened.what for happened in post.birth("T-1", born).happened] == ["refused"]
    assert post.heads(post.send((one, 1, 5))) == [(5, None)]


def test_of_many_journals_that_wait_all_are_asked_for_in_portions(post: Post) -> None:
    count = MAX_ASKED + 50
    books = [book("T-1", 12, f"0192f6d0-0000-7000-8000-{number:012d}") for number in range(count)]
    post.send(*[(one, 11, 12) for one in books])
    first, second = post.later(2), post.later(0)
    assert (len(first.told), len(second.told), post.later(0).told) == (MAX_ASKED, 50, [])
    assert {told.journal_id for told in (*first.told, *second.told)} == {one.journal_id for one in books}
    assert {told.reply.resend_from for told in first.told} == {1}


def test_audit_has_journals_of_its_own(post: Post) -> None:
    one = book("T-1", 5)
    post.send((one, 1, 5))
    assert post.heads(post.raw([("T-1", one.message(1, 3))], "audit")) == [(3, None)]


def test_terminals_of_the_same_name_at_two_sites_are_two(post: Post) -> None:
    one = book("T-1", 5)
    post.send((one, 1, 5))
    post.site = "S-02"
    assert post.heads(post.send((one, 1, 3))) == [(3, None)]


def test_a_commit_that_fails_leaves_nothing_and_the_same_group_can_be_posted_again(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = book("T-1", 10)

    def fails(*_: object) -> None:
        raise StoreUnavailable("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr("agent.fleet.collector.posting.Posting._write_rare", fails)
        with pytest.raises(StoreUnavailable):
            post.send((one, 1, 10))
    assert held_hashes(post.database) == {}
    assert post.heads(post.send((one, 1, 10))) == [(10, None)]


def test_several_collectors_over_one_store_lose_and_double_nothing(store: str) -> None:
    """Four threads, each with a connection of its own, get parts of the same journals in any order, some twice."""
    books = [book(f"T-{number}", 60) for number in range(6)]
    parts = [(one, first, first + 3) for one in books for first in range(1, 60, 4)]
    chance = random.Random(4)
    work = parts + chance.sample(parts, 20)
    chance.shuffle(work)
    posted: list[Posted] = []
    errors: list[BaseException] = []

    def collect(share: list[tuple[Book, int, int]]) -> None:
        own = Post(store)
        try:
            for begin in range(0, len(share), 5):
                posted.append(own.send(*share[begin : begin + 5]))
        except BaseException as err:  # shown by the assertion below
            errors.append(err)
        finally:
            own.close()

    Post(store).close()
    threads = [threading.Thread(target=collect, args=(work[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    database = open_store(store)
    held = held_hashes(database)
    database.close()
    assert held == {(one.terminal, one.journal_id): dict(enumerate(one.hashes[1:], 1)) for one in books}
    for told in (told for one in posted for told in one.told):
        hashes = next(one.hashes for one in books if one.terminal == told.source.terminal)
        assert told.reply.head.hash == hashes[told.reply.head.sequence]
    assert sum(one.held for one in posted) == 6 * 60


def test_a_store_of_another_release_is_not_touched(store: str) -> None:
    database = open_store(store)
    with database.transaction() as session:
        session.run("UPDATE collector SET value = ?", ("999",))
    database.close()
    with pytest.raises(NeedsPerson):
        open_store(store)


def test_a_server_that_was_killed_has_everything_it_confirmed_and_is_connected_to_again(postgres: Postgres) -> None:
    one = book("T-1", 20)
    post = Post(postgres.store())
    post.send((one, 1, 10))
    postgres.kill()
    with pytest.raises(StoreUnavailable):
        post.send((one, 11, 20))
    postgres.start()
    assert post.heads(post.send((one, 11, 20))) == [(20, None)]
    assert len(held_hashes(post.database)["T-1", one.journal_id]) == 20
    post.close()


def test_a_commit_that_the_server_answers_with_a_rollback_is_none(postgres: Postgres) -> None:
    """After an error that somebody swallowed COMMIT succeeds, and says ROLLBACK."""
    database = open_store(postgres.store())
    with pytest.raises(StoreUnavailable, match="not committed"), database.transaction() as session:  # noqa: PT012
        session.run("CREATE TABLE taken (number INTEGER)")
        with suppress(psycopg.Error):
            session.run("SELECT 1 / 0")
    with pytest.raises(StoreUnavailable, match="does not exist"), database.reading() as session:
        session.rows("SELECT * FROM taken")
    with database.transaction() as session:
        session.run("CREATE TABLE taken (number INTEGER)")
    with database.reading() as session:
        assert session.rows("SELECT * FROM taken") == []
    database.close()


def test_a_collector_that_stops_in_mid_transaction_does_not_hold_up_the_others(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = book("T-1", 20)
    store = postgres.store()
    other = Post(store)
    other.send((one, 1, 10))
    monkeypatch.setattr(postgres_store, "_IDLE_S", 1)
    frozen = open_store(store)
    answers: list[Posted] = []

    def freeze() -> None:
        with frozen.transaction() as session:
            session.rows(f"SELECT id FROM journals {session.lock}")
            waiting = threading.Thread(target=lambda: answers.append(other.send((one, 11, 20))), daemon=True)
            waiting.start()
            waiting.join(30)  # as long as this one does nothing
            session.run("DELETE FROM entries")  # and when it wakes up, what it wanted is no more

    with pytest.raises(StoreUnavailable):
        freeze()
    assert [other.heads(answer) for answer in answers] == [[(20, None)]]
    assert len(held_hashes(other.database)["T-1", one.journal_id]) == 20
    frozen.close()
    other.close()


def test_a_server_that_does_not_keep_what_it_confirms_is_refused(postgres: Postgres) -> None:
    store = postgres.store()
    postgres.configure("full_page_writes", "off")
    try:
        with pytest.raises(NeedsPerson, match="full_page_writes"):
            open_store(store)
    finally:
        postgres.configure("full_page_writes", "on")


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("mysql://x", BadRequest),
        ("sqlite://x", BadRequest),
        ("/nonexistent/folder/x.db", BadRequest),
        ("postgresql://nobody@/x?host=/nonexistent", StoreUnavailable),
    ],
)
def test_a_store_that_is_none_is_refused_with_words(where: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_store(where)


def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but something of mine\n" * 100)
    with pytest.raises(NeedsPerson):
        open_store(str(text))
    assert text.read_text().startswith("not a database")
    with pytest.raises(BadRequest):
        open_store(str(tmp_path / "none.db"), create=False)
