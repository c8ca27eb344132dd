"""From what arrives to what can be admitted: whose order is it, for whom, and what would carrying it out mean?

Two doors: signed envelopes (from the broker, or carried in by hand) and callers at the control socket. Nothing is
stored here; deciding on admission is in ``rules.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.commands.command import Prepared
from agent.commands.planning import Planner
from agent.commands.reading import ReadOrder, content_of, digest_of_local, read_order
from agent.commands.rules import Asked
from agent.contract.command import (
    COMMAND_TYPE,
    CommandRequest,
    LocalOrder,
    Reason,
    ReasonCode,
    Target,
    usable_id,
    usable_name,
)
from agent.contract.policy import Policy, PolicyKey
from agent.contract.publication import HARD_LIMIT_BYTES
from agent.contract.topics import EVERY_TERMINAL
from agent.errors import BadRequest, Refused
from agent.runtime.clock import Clock
from agent.trust.envelope import open_envelope
from agent.trust.policy import Verdict, authorise, authorise_local, is_expired, rule_for, signers
from agent.workflow.run_rows import Origin
from agent.workflow.transition import Phase, Run

LOCAL_LIFE: Final = timedelta(hours=24)
KEPT_UNREAD: Final = timedelta(days=31)


class Identity(Struct, frozen=True):
    """Which terminal this is, in orders."""

    terminal: str
    serial: str


class LocalCaller(Struct, frozen=True):
    """Who is at the control socket, by the kernel's word. ``rights``: of ``support`` and ``admin``."""

    uid: int
    rights: frozenset[str]


class NotAuthentic(Exception):
    """No order of anybody entitled, for this terminal: counted, and nothing else. ``cause`` is one of our own words."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class Admission(Struct, frozen=True):
    """An order to be decided on, and the row it would get. ``exclusive``: it would have the terminal for itself."""

    asked: Asked
    run: Run
    origin: Origin
    site_wide: bool
    exclusive: bool


class Intake:
    """Believes signatures and callers by the present policy."""

    def __init__(
        self,
        planner: Planner,
        policy: Callable[[], Policy | None],
        identity: Identity,
        clock: Clock,
        *,
        policy_is_unusable: bool = False,
    ) -> None:
        """``policy_is_unusable``: there is one that cannot be used, and so ``policy`` gives None."""
        self._planner = planner
        self._policy = policy
        self._identity = identity
        self._clock = clock
        self._policy_is_unusable = policy_is_unusable

    def from_broker(self, topic_command: str, payload: bytes, *, retained: bool, site_wide: bool) -> Admission:
        """An MQTT message from ``in/req/<topic_command>``.

        Raises:
            NotAuthentic: It leaves no trace but a count.
        """
        if retained:  # whoever connects would be given it again and again
            raise NotAuthentic("retained")
        return self._believe(payload, topic_command, site_wide=site_wide, source="site" if site_wide else "mqtt")

    def carried_in(self, order: LocalOrder, caller: LocalCaller) -> Admission:
        """A signed order from the control socket: its signatures count, not the caller's rights.

        Raises:
            BadRequest: Something stands beside the envelope.
            NotAuthentic: Nobody entitled signed it for this terminal.
        """
        if any(part is not None for part in (order.command_id, order.name, order.arguments, order.reason)):
            raise BadRequest("an envelope carries the whole order", field="envelope", hint="send the envelope alone")
        try:
            payload = msgspec.json.encode(order.envelope)
        except RecursionError as err:
            raise NotAuthentic("no_envelope") from err
        admission = self._believe(payload, None, site_wide=False, source="hand")
        return replace(admission, origin=replace(admission.origin, uid=caller.uid))

    def from_caller(self, order: LocalOrder, caller: LocalCaller) -> Admission:
        """An unsigned order from the control socket, for commands whose rule lets the caller.

        Raises:
            BadRequest: No usable id or name.
            Refused: The caller may not.
        """
        command_id, name = usable_id(order.command_id), usable_name(order.name)
        if command_id is None or name is None:
            field = "name" if command_id else "command_id"
            raise BadRequest(f"a usable {field} is required", field=field, hint="or send an envelope alone")
        try:
            arguments = msgspec.json.encode(order.arguments or {})
            digest = digest_of_local(order)
        except RecursionError as err:
            raise BadRequest("arguments hold what cannot be stored", field="arguments") from err
        now, policy = self._clock.now(), self._policy()
        prepared = self._planner.prepare(name, arguments)
        rule = rule_for(policy, prepared.rule if isinstance(prepared, Prepared) else name)
        unusable = self._policy_is_unusable and policy is None
        verdict = authorise_local(policy, rule, caller.rights, now, unusable=unusable) if rule else Verdict(True)
        if not verdict.allowed:
            why = f"this order is not allowed here: {verdict.why_not}"
            raise Refused(why, reason=ReasonCode.NOT_AUTHORISED, hint="ask somebody who may, or bring a signed order")
        target = Target(self._identity.terminal, self._identity.serial)
        request = CommandRequest(command_id, name, target, now, now + LOCAL_LIFE, msgspec.Raw(arguments), order.reason)
        run = self._new_run(command_id, name, content_of(request), prepared)
        asked = Asked(request, "", digest, verdict, _problem(prepared), self._begins_at_once(run, prepared))
        origin = Origin(digest, "local", caller.uid, (), request.expires_at)
        return Admission(asked, run, origin, site_wide=False, exclusive=_is_exclusive(prepared))

    def _believe(self, payload: bytes, topic_command: str | None, *, site_wide: bool, source: str) -> Admission:
        policy = self._policy()
        if policy is None:
            raise NotAuthentic("no_policy")
        if len(payload) > HARD_LIMIT_BYTES:
            raise NotAuthentic("oversize")
        try:
            sealed = open_envelope(payload, COMMAND_TYPE)
        except BadRequest as err:
            raise NotAuthentic("no_envelope") from err
        keys = signers(policy, sealed)
        if not keys:
            raise NotAuthentic("unknown_signer")
        read = read_order(sealed.payload, topic_command)
        if read is None:
            raise NotAuthentic("unreadable")
        expected = EVERY_TERMINAL if site_wide else self._identity.terminal
        if read.terminal != expected or read.serial not in (None, self._identity.serial):
            raise NotAuthentic("other_terminal")
        return self._understand(read, policy, keys, site_wide=site_wide, source=source)

    def _understand(
        self, read: ReadOrder, policy: Policy, keys: tuple[PolicyKey, ...], *, site_wide: bool, source: str
    ) -> Admission:
        now, request = self._clock.now(), read.request
        prepared = self._planner.prepare(read.name, bytes(request.arguments) if request else b"")
        rule = rule_for(policy, prepared.rule if isinstance(prepared, Prepared) else read.name)
        if rule is not None:
            verdict = authorise(policy, rule, keys, now)
        else:  # there is no such command anywhere, and that is what it will be told
            verdict = Verdict(not is_expired(policy, now), "the policy has expired")
        problem = _problem(prepared)
        if site_wide and isinstance(prepared, Prepared) and not prepared.site_wide:
            problem = Reason(ReasonCode.INVALID_REQUEST, "this cannot be ordered of a whole site")
        elif isinstance(prepared, Prepared) and prepared.needs_serial and read.serial is None:
            problem = Reason(ReasonCode.INVALID_REQUEST, "such an order must name the terminal's serial")
        latest = now + KEPT_UNREAD
        people = tuple(sorted({key.person for key in keys}))
        expires_at = min(request.expires_at, latest) if request else latest
        run = self._new_run(read.command_id, read.name, read.content, prepared)
        at_once = request is not None and self._begins_at_once(run, prepared)
        return Admission(
            Asked(request, read.problem, read.digest, verdict, problem, at_once),
            run,
            Origin(read.digest, source, None, people, expires_at),
            site_wide,
            _is_exclusive(prepared),
        )

    def _begins_at_once(self, run: Run, prepared: Prepared | Reason) -> bool:
        beside_others = isinstance(prepared, Prepared) and not prepared.plan.exclusive
        return beside_others and self._planner.gate(run, 0.0) is None

    def _new_run(self, command_id: str, name: str, content: bytes, prepared: Prepared | Reason) -> Run:
        now = self._clock.now()
        return Run(
            command_id=command_id,
            name=name,
            request=content,
            phase=Phase.ACCEPTED,
            rev=1,
            step=0,
            steps=len(prepared.plan.steps) if isinstance(prepared, Prepared) else None,
            attempt=0,
            progress=None,
            reason=None,
            result=None,
            accepted_at=now,
            updated_at=now,
        )


def _is_exclusive(prepared: Prepared | Reason) -> bool:
    return isinstance(prepared, Prepared) and prepared.plan.exclusive


def _problem(prepared: Prepared | Reason) -> Reason | None:
    return prepared if isinstance(prepared, Reason) else prepared.refusal
