"""One blocking call (name resolution, TCP, TLS) on a thread that nobody has to wait for when the process ends.

The loop's own executor joins its threads at exit, so a resolver that hangs would hold up an orderly stop for half a
minute; and it keeps an idle thread for ever. This thread ends with the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable


async def run_in_daemon_thread(call: Callable[[], None], *, abandoned: Callable[[], None]) -> None:
    """Run ``call`` on a thread of its own and wait for it.

    Args:
        abandoned: Called on the loop once ``call`` is over, when the caller was cancelled meanwhile.

    Raises:
        OSError, ValueError: As ``call`` raised them.
        RuntimeError: ``call`` raised something else, which the thread's hook has reported.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[BaseException | None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if over.cancelled():
            abandoned()
        else:
            over.set_result(error)

    def work() -> None:
        error: BaseException | None = RuntimeError("the connecting thread failed")
        try:
            call()
            error = None
        except (OSError, ValueError) as err:
            error = err
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=work, name="uplink-connect", daemon=True).start()
    error = await over
    if error is not None:
        raise error
