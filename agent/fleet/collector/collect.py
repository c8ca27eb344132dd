"""``posctl fleet collect``: take terminals' journals into a store, and sign for what is durable there."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import BadRequest, Refused, Unavailable
from agent.fleet import orders
from agent.fleet.broker import broker_of, broker_options, linked, seconds
from agent.fleet.collector import export, status, verify
from agent.fleet.collector.acks import Signer
from agent.fleet.collector.database import open_store
from agent.fleet.collector.ledger import Ledger
from agent.fleet.collector.posting import Happened
from agent.fleet.collector.service import RECEIVE_MAXIMUM, WINDOW, Collector, filters
from agent.fleet.key_file import read_private
from agent.fleet.screen import BAD, DIM, GOOD, WARN, ReadArguments, Screen
from agent.uplink.broker import Broker, Subscription
from agent.uplink.link import FAILURE, Link

EVERY_SITE: Final = "+"
_RETRY_S: Final = 1.0
_SHARE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TONES: Final = {"gap": BAD, "fork": BAD, "refused": BAD, "unknown_form": WARN, "filled": GOOD}
_ABOUT = """\
Hold a second copy of every terminal's journal. Each entry is decoded, looked through for card data and linked to the
one before it; the terminal gets a signed acknowledgement once the entry is durable in the store, and only for the part
without a hole. Several collectors with one --share divide the work over one store.
"""
_EPILOG = """\
for example: posctl fleet collect --broker broker.example:8883 --ca ca.pem --site shop-1 \\
                 --store /var/lib/collector/shop-1.db --key collector.key.json
stores: a path, sqlite:///PATH (so sqlite:////var/… is absolute), or postgresql://USER@HOST/DATABASE (needs psycopg)
Ctrl-C, SIGTERM or --for ends it in order; exit 0. A broker or a store that goes away is waited for.
"""


def add_arguments(parser: argparse.ArgumentParser, _read_arguments: ReadArguments) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _EPILOG
    broker_options(parser, required=False)
    parser.add_argument("--all", action="store_true", dest="every_site", help="every site, in place of --site")
    parser.add_argument("--store", metavar="STORE", help="where the copies are held")
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key of role collector")
    parser.add_argument("--share", metavar="NAME", help="collectors with the same name divide the work (collectors)")
    parser.add_argument("--alone", action="store_true", help="no shared subscription: this is the only collector")
    parser.add_argument("--for", type=seconds, dest="for_s", metavar="SECONDS", help="end by itself after so long")
    parser.set_defaults(run=_collect)
    verbs = parser.add_subparsers(metavar="VERB", title="of what is held")
    status.add_arguments(verbs.add_parser("status", help="what is held of whom; gaps, forks, silent terminals"))
    verify.add_arguments(verbs.add_parser("verify", help="recompute every chain"))
    export.add_arguments(verbs.add_parser("export", help="as CSV, NDJSON, SQLite, or files for pos-agent restore"))


def _collect(args: argparse.Namespace, screen: Screen) -> int:
    for option, given in (("--broker", args.broker), ("--store", args.store), ("--key", args.key)):
        if given is None:
            raise BadRequest(f"to collect, {option} is needed", field=option, hint="posctl fleet collect --help")
    if (args.site is None) != args.every_site:
        raise BadRequest("either --site S or --all", field="--site")
    if args.site is not None:
        orders.identity(args.site, "--site")
    signer = Signer(read_private(args.key))
    share = _share(args)
    database = open_store(args.store)
    try:
        return asyncio.run(_Collecting(args, screen, share, Ledger(database), signer).run())
    finally:
        database.close()


def _share(args: argparse.Namespace) -> str | None:
    """The group's name; None for a plain subscription.

    Raises:
        BadRequest: A name that no Topic Filter can hold, or one for a protocol that knows no groups.
    """
    if args.share is not None and (args.alone or args.protocol != "5"):
        raise BadRequest(
            "shared subscriptions are MQTT 5: with 3.1.1 or --alone there is one collector and no --share",
            field="--share",
        )
    if args.alone or args.protocol != "5":
        return None
    name: str = "collectors" if args.share is None else args.share
    if not _SHARE.fullmatch(name):
        raise BadRequest("a group's name is letters, digits, ., - and _, at most 64", field="--share")
    return name


class _Collecting:
    def __init__(
        self, args: argparse.Namespace, screen: Screen, share: str | None, ledger: Ledger, signer: Signer
    ) -> None:
        self._args, self._screen, self._share = args, screen, share
        self._collector = Collector(ledger, signer, tell=self._tell, trouble=self._trouble)
        self._last_trouble = ""
        self._begun = False
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop, stop = asyncio.get_running_loop(), self._stop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        progress = asyncio.create_task(self._progress())
        try:
            await self._follow()
        finally:
            progress.cancel()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            self._collector.close()
        counts = self._collector.counts
        facts = {"messages": counts.messages, "entries": counts.held, "commits": counts.commits, "acks": counts.acks}
        if self._screen.as_json:
            self._screen.json_line({"event": "ended", **facts})
        else:
            self._screen.line("ended; " + ", ".join(f"{number:,} {name}" for name, number in facts.items()))
        return 0

    async def _follow(self) -> None:
        """Open links one after the other until it is time to stop; the first one must come up."""
        stop = self._stop
        while not stop.is_set():
            try:
                async with linked(self._args, self._broker()) as link:
                    await self._collector.run(link, self._subscribe(link), stop)
            except Unavailable as err:
                if not self._begun:
                    raise
                self._trouble(err.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S):
                    await stop.wait()

    def _broker(self) -> Broker:
        broker = broker_of(self._args)
        return msgspec.structs.replace(broker, window=WINDOW, receive_maximum=RECEIVE_MAXIMUM)

    async def _subscribe(self, link: Link) -> None:
        """Births first, so that what terminals are bound to is known before their records are looked through."""
        births, journals = filters(EVERY_SITE if self._args.every_site else self._args.site, self._share)
        for one in (*births, *journals):
            (granted,) = await link.subscribe([Subscription(one, retained=0)])
            if granted >= FAILURE:
                raise Refused(
                    f"the broker does not let you read {one} (0x{granted:02X})",
                    reason="BROKER_REFUSED",
                    hint="its access list must let the collector read it; --alone where it has no shared subscriptions",
                )
        if not self._begun and self._args.for_s is not None:
            asyncio.get_running_loop().call_later(self._args.for_s, self._stop.set)
        self._begun, self._last_trouble = True, ""
        self._event("collecting", f"collecting {self._whose()} into {_shown(self._args.store)}")

    def _whose(self) -> str:
        whose = "every site" if self._args.every_site else f"site {self._args.site}"
        return f"{whose}, alone" if self._share is None else f"{whose}, one of the group {self._share}"

    async def _progress(self) -> None:
        counts, last = self._collector.counts, 0
        while True:
            await asyncio.sleep(1.0)
            self._screen.progress(f"{counts.held:,} entries held, {counts.held - last:,} a second")
            last = counts.held

    def _tell(self, one: Happened) -> None:
        self._event(one.what, one.text, site=one.source.site, terminal=one.source.terminal)

    def _trouble(self, why: str) -> None:
        if why != self._last_trouble:
            self._last_trouble = why
            self._screen.note(f"{self._screen.plain(why)}; trying again every {_RETRY_S:g} s")

    def _event(self, event: str, text: str, **facts: str) -> None:
        screen = self._screen
        now = datetime.now(UTC)
        if screen.as_json:
            at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            screen.json_line({"at": at, "event": event, **facts, "text": text})
            return
        where = screen.plain("/".join(facts.values()))
        painted = screen.paint(screen.plain(text), _TONES.get(event, ""))
        screen.line("  ".join(filter(None, (screen.paint(screen.local(now), DIM), where, painted))))


def _shown(store: str) -> str:
    """The store without a password."""
    return re.sub(r"//([^:/@]*):[^@/]*@", r"//\1:…@", store)
