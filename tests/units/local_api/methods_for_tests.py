"""Methods that show what a server does with them, without a journal behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agent.errors import BadRequest, CardDataRejected, InvalidTransition, NotFound, Refused, StoreFull
from agent.errors import TransactionConflict as Conflict
from agent.local_api.peer import Caller
from agent.local_api.server import Method

SECRET = "a value nobody may see"

ERRORS: dict[str, Exception] = {
    "bad": BadRequest("wrong form", field="stan", hint="six digits"),
    "card": CardDataRejected("card data is never taken", field="memo", rule="R3"),
    "transition": InvalidTransition("cannot follow", field="state"),
    "conflict": Conflict("other content", sequence=412),
    "full": StoreFull("disk full"),
    "refused": Refused("not now", reason="TERMINAL_LOCKED"),
    "missing": NotFound("not here"),
    "bug": ZeroDivisionError(SECRET),
}


class Recorder:
    """`calls` is what was handled, in order; `open` are the futures of calls that wait."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.callers: list[Caller] = []
        self.open: list[asyncio.Future[object]] = []
        self.cancelled: list[str] = []

    def table(self, right: str = "payment") -> dict[str, Method]:
        return {
            "echo": Method(self._echo, right),
            "wait": Method(self._wait, right),
            "sleep": Method(self._sleep, right),
            "sleep.detached": Method(self._sleep, right, detached=True),
            "fail": Method(self._fail, right),
            "fail.later": Method(self._fail_later, right),
            "fail.result": Method(self._echo, right, _no_result),
            "fail.encoding": Method(lambda _params, _caller: object(), right),
            "large": Method(lambda params, _caller: "x" * int(str(params["size"])), right),
            "admin.only": Method(self._echo, "admin"),
        }

    def _echo(self, params: Mapping[str, object], caller: Caller) -> object:
        self.calls.append(params.get("n"))
        self.callers.append(caller)
        return {"n": params.get("n")}

    def _wait(self, params: Mapping[str, object], _caller: Caller) -> asyncio.Future[object]:
        self.calls.append(params.get("n"))
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.open.append(future)
        return future

    async def _sleep(self, params: Mapping[str, object], _caller: Caller) -> None:
        self.calls.append(params.get("n"))
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.append(str(params.get("n")))

    def _fail(self, params: Mapping[str, object], _caller: Caller) -> object:
        raise ERRORS[str(params["how"])]

    async def _fail_later(self, params: Mapping[str, object], _caller: Caller) -> object:
        raise ERRORS[str(params["how"])]


def _no_result(_outcome: object) -> object:
    raise ZeroDivisionError(SECRET)
