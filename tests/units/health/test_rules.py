"""Debounce and hysteresis, by property: a state changes only on evidence that held, and never flaps."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.contract.health import PowerState, State, Threshold, Thresholds
from agent.health.probes import cpu, filesystem, memory, pos_printer
from agent.health.probes.host import two_steps
from agent.health.rules import Hold, Limit, Rule, Track, begin, conclude, is_undecided, judge, observe
from agent.health.sample import Sample, Seen

STEPS = st.floats(min_value=0.1, max_value=60)
RULE = Rule("r", "c", State.FAILED, "bad", "HW-PRN-002", confirm=Hold(3), release=Hold(2))
TIMED = Rule("r", "c", State.FAILED, "bad", "HW-PRN-002", confirm=Hold(2, 20.0), release=Hold(2, 10.0))


def _sample(seen: Seen) -> Sample:
    return Sample(True, {"c": seen})


def _changes(rule: Rule, track: Track, looks: list[tuple[Seen, float]]) -> list[tuple[int, bool]]:
    """Index of each sample at which the rule changed its mind, and to what."""
    now_s, found = 0.0, []
    for index, (seen, step_s) in enumerate(looks):
        now_s += step_s
        after = judge(rule, track, _sample(seen), now_s)
        if after.active is not track.active:
            found.append((index, bool(after.active)))
        track = after
    return found


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), STEPS), max_size=60))
def test_a_change_needs_that_many_samples_in_a_row(looks: list[tuple[Seen, float]]) -> None:
    for index, active in _changes(RULE, Track(active=False), looks):
        needed = 3 if active else 2
        assert [seen for seen, _ in looks[index - needed + 1 : index + 1]] == [active] * needed


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), STEPS), max_size=60))
def test_a_change_needs_that_much_time_without_a_contradiction(looks: list[tuple[Seen, float]]) -> None:
    for index, active in _changes(TIMED, Track(active=False), looks):
        run_s, first = 0.0, index
        while first > 0 and looks[first - 1][0] is active:
            run_s += looks[first][1]
            first -= 1
        assert run_s >= (20.0 if active else 10.0) - 1e-6


@given(st.lists(STEPS, min_size=5, max_size=80))
def test_a_signal_that_alternates_never_changes_anything(steps: list[float]) -> None:
    looks: list[tuple[Seen, float]] = [(index % 2 == 0, step_s) for index, step_s in enumerate(steps)]
    assert _changes(RULE, Track(active=False), looks) == []


@given(
    st.floats(min_value=10, max_value=90),
    st.floats(min_value=1, max_value=9),
    st.booleans(),
    st.lists(st.floats(min_value=-0.99, max_value=0.99), min_size=1, max_size=200),
    st.booleans(),
)
def test_a_number_around_one_limit_changes_the_state_at_most_once(
    raise_at: float, margin: float, higher_is_worse: bool, noise: list[float], begins_bad: bool
) -> None:
    limit = Limit(raise_at, raise_at - margin if higher_is_worse else raise_at + margin)
    rule = Rule("n", "c", State.DEGRADED, "{:.1f} %", limit=limit)
    looks: list[tuple[Seen, float]] = [(raise_at + share * margin, 1.0) for share in noise]
    assert len(_changes(rule, Track(active=begins_bad), looks)) <= 1


@given(st.floats(allow_nan=True, allow_infinity=True), st.booleans())
def test_no_number_whatever_breaks_a_rule(value: float, active: bool) -> None:
    rule = Rule("n", "c", State.DEGRADED, "{:.1f} %", limit=Limit(10, 8))
    after = judge(rule, Track(active=active), _sample(value), 1.0)
    assert after.active in {True, False}
    if math.isnan(value):
        assert after.active is active


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=100))
def test_failed_is_never_without_degraded(values: list[float]) -> None:
    steps = two_steps("c", "HST-MEM-001", "{:.1f} %", Threshold(15.0, 7.0, 3.0, 0.0), lower_is_worse=True)
    tracks = begin(steps)
    for value in values:
        tracks = observe(steps, tracks, _sample(value), 0.0)
        failed, degraded = (track.active for track in tracks)
        assert degraded or not failed
        state = conclude(steps, tracks, answered=True).state
        if value <= 7:
            assert state is State.FAILED
        elif value >= 18:
            assert state is State.OK


PRINTER = pos_printer.rules(answers=True)
LINE = ("gone", "silent", "unusable", "violation")
HEALTHY: dict[str, Seen] = {
    rule.condition: False for rule in PRINTER if rule.condition not in {*LINE, "unanswered", "broken"}
}


@given(st.lists(st.sampled_from(["good", *LINE]), max_size=60))
def test_a_printer_is_never_ok_without_an_answer_since_it_went(kinds: list[str]) -> None:
    tracks, answered, gone = begin(PRINTER), False, True
    for index, kind in enumerate(kinds):
        good = kind == "good"
        sample = Sample(True, HEALTHY) if good else Sample(False, {kind: True, "unanswered": True})
        tracks = observe(PRINTER, tracks, sample, float(index))
        answered = answered or good
        gone = kind == "gone" or (gone and not good)
        verdict = conclude(PRINTER, tracks, answered=answered)
        if gone:
            assert verdict.state is not State.OK
        if kind == "gone":
            assert (verdict.state, verdict.power_state) == (State.FAILED, PowerState.OFF)
        if good:
            assert (verdict.state, verdict.power_state) == (State.OK, PowerState.ONLINE)
        if not verdict.active and answered:
            assert verdict.state is State.OK


@given(st.lists(st.sampled_from(["silent", "violation", "busy"]), min_size=65, max_size=80))
def test_no_mixture_of_excuses_keeps_a_printer_ok(kinds: list[str]) -> None:
    tracks = observe(PRINTER, begin(PRINTER), Sample(True, HEALTHY), 0.0)
    line: dict[str, Seen] = dict.fromkeys(LINE)
    for index, kind in enumerate(kinds):
        seen = line if kind == "busy" else {kind: True}
        tracks = observe(PRINTER, tracks, Sample(False, {**seen, "unanswered": True}), float(index))
    assert conclude(PRINTER, tracks, answered=True).state is not State.OK


def test_a_sensor_that_does_not_exist_decides_nothing() -> None:
    seen = {**HEALTHY, "near_end": None}
    tracks = observe(PRINTER, begin(PRINTER), Sample(True, seen), 0.0)
    (near_end,) = [t for rule, t in zip(PRINTER, tracks, strict=True) if rule.condition == "near_end"]
    assert near_end.active is None


def test_three_misses_are_silence_and_two_are_not() -> None:
    tracks = observe(PRINTER, begin(PRINTER), Sample(True, HEALTHY), 0.0)
    states = []
    for index in range(3):
        tracks = observe(PRINTER, tracks, Sample(False, {"silent": True, "unanswered": True}), index + 1.0)
        states.append(conclude(PRINTER, tracks, answered=True).state.value)
        assert is_undecided(PRINTER, tracks) == (index < 2)
    assert states == ["ok", "ok", "failed"]


def test_every_subject_has_rules_with_names_of_their_own_and_codes_that_exist() -> None:
    limits = Thresholds()
    for rules in (PRINTER, pos_printer.rules(answers=False), memory.rules(limits), cpu.rules(limits)):
        assert len({rule.name for rule in rules}) == len(rules)
    assert {rule.code for rule in filesystem.rules(limits)} >= {"HST-STO-001", "HST-STO-002", "HST-STO-005"}
