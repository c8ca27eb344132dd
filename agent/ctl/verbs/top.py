"""``posctl top``: the terminal's state on one screen, kept fresh until somebody leaves it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from agent.ctl import snapshot
from agent.ctl.advice import advice
from agent.ctl.exit_codes import Exit
from agent.ctl.feed import Feed
from agent.ctl.keys import Key, KeyReader
from agent.ctl.live_terminal import LiveTerminal
from agent.ctl.render.style import Style
from agent.ctl.render.top import Frame, Lost, View, frame
from agent.ctl.screen import Screen
from agent.ctl.snapshot import Snapshot
from agent.ctl.terminal_text import encoder_for
from agent.ctl.verb import Verb, client, socket_options

_CLOCK_S = 1.0  # the time in the corner moves: the screen is seen to live
_ABOUT = """\
On a terminal a live screen: can it sell, and why not; devices, faults with what to do, journal, uplink, open orders.
Keys: q leaves; p pauses; r asks again now; arrows, space and b scroll the faults.
Elsewhere one page of text; with --json one JSON document.
"""


def _top(args: argparse.Namespace, screen: Screen) -> Exit:
    with client(args) as agent:
        first = snapshot.fetch(agent)  # whoever may not ask, or asks nobody, is told so and sees no screen
    if screen.as_json:
        screen.document({"at": first.at, **first.document})
    elif not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        page = frame(View(first, datetime.now(UTC)), None, screen.style, advice)
        screen.lines(page.lines)
    else:
        _live(args, first, screen.style)
    return Exit.DONE


def _live(args: argparse.Namespace, first: Snapshot, style: Style) -> None:
    keys = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    encode = encoder_for(sys.stdout.encoding, os.environ.get)
    with (
        Feed(args.socket, args.timeout) as feed,
        LiveTerminal(sys.stdout.fileno(), keys, encode) as terminal,
    ):
        looking = _Looking(feed, View(first, datetime.now(UTC), note=args.note))
        while not terminal.ended and not looking.left:
            feed.step()
            terminal.draw(looking.frame(terminal.size, style).lines)
            woken = terminal.wait(feed.fileno(), min(feed.wait_s(), _CLOCK_S))
            if woken.readable:
                feed.receive()
            looking.press(woken.typed)


class _Looking:
    """Who looks: what they see, and what their keys do."""

    def __init__(self, feed: Feed, view: View) -> None:
        self.left = False
        self._feed, self._view = feed, view
        self._keys = KeyReader()
        self._frame = Frame([], 0, 1)
        self._once = False  # while paused: take one newer snapshot

    def frame(self, size: Callable[[], os.terminal_size], style: Style) -> Frame:
        columns, rows = size()
        if not self._view.paused or self._once:
            self._take()
        self._frame = frame(self._view, rows, replace(style, width=columns), advice)
        if self._view.scroll > self._frame.furthest:
            self._view = replace(self._view, scroll=self._frame.furthest)
        return self._frame

    def _take(self) -> None:
        feed = self._feed
        newest = feed.snapshot or self._view.snapshot
        self._once = self._once and newest is self._view.snapshot
        lost = None
        if feed.trouble is not None and feed.trouble_since is not None:
            lost = Lost(feed.trouble.message, feed.trouble.hint or "", feed.trouble_since)
        self._view = replace(self._view, snapshot=newest, lost=lost, now=datetime.now(UTC))

    def press(self, typed: bytes) -> None:
        for key in self._keys.feed(typed):
            match key:
                case Key.QUIT:
                    self.left = True
                case Key.PAUSE:
                    self._view = replace(self._view, paused=not self._view.paused)
                case Key.REFRESH:
                    self._once = True
                    self._feed.refresh()
                case _:
                    self._view = replace(self._view, scroll=self._scrolled(key))

    def _scrolled(self, key: Key) -> int:
        page, furthest = max(1, self._frame.page), self._frame.furthest
        now = self._view.scroll
        to = {
            Key.UP: now - 1,
            Key.DOWN: now + 1,
            Key.PAGE_UP: now - page,
            Key.PAGE_DOWN: now + page,
            Key.HOME: 0,
            Key.END: furthest,
        }[key]
        return min(max(0, to), furthest)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = _ABOUT
    socket_options(parser, _top)
    parser.add_argument("--note", default="", metavar="TEXT", help="words of your own in the last line")


TOP = Verb("top", "a live screen: readiness, devices, faults with what to do, journal, uplink", _add_arguments)
