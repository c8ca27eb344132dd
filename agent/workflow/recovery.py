"""After a crash, reboot or power cut: every open run goes on or ends, by what its steps say of interruption."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from agent.workflow.journal import RunJournal
from agent.workflow.plan import Plan
from agent.workflow.transition import AgentRestarted, PlanLost, Run

log = structlog.get_logger("workflow")


async def recover(journal: RunJournal, plan_for: Callable[[Run], Plan | None], *, own_too: bool = False) -> list[Run]:
    """Bring every open run to where it can go on; those that are still open are returned, those begun first.

    ``own_too``: not only of earlier lives of the agent; for an engine that starts again in the same process.

    Doing it again, after dying in its middle, is harmless.

    Raises:
        StoreFull, StoreUnavailable: Some may be done already; call it again.
    """
    await journal.tell_untold()
    still_open = []
    for found in await (journal.open_runs() if own_too else journal.left_open()):
        plan = plan_for(found)
        lost = found.phase.is_begun and (plan is None or found.step >= len(plan.steps))
        run = await journal.record(found, PlanLost() if lost else AgentRestarted(), plan)
        if found.phase.is_begun:
            log.warning(
                "run.recovered", command_id=run.command_id, name=run.name, phase=run.phase.value, attempt=run.attempt
            )
        if not run.phase.is_final:
            still_open.append(run)
    return sorted(still_open, key=lambda run: not run.phase.is_begun)
