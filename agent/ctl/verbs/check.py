"""``posctl check DEVICE``: have one device tested now, and say how it is."""

from __future__ import annotations

import argparse

import msgspec

from agent.ctl import answers
from agent.ctl.advice import advice
from agent.ctl.client import decode
from agent.ctl.exit_codes import Exit
from agent.ctl.following import exit_of, follow, note_unfinished
from agent.ctl.render.command import FINAL, operation_line, operation_lines
from agent.ctl.render.status import checked_lines
from agent.ctl.screen import Screen
from agent.ctl.verb import Verb, client, device_name, seconds, socket_options

DEFAULT_WAIT_S = 60.0
_ABOUT = """\
Have a device tested now and wait for what comes of it. By default it is only asked how it is, which nobody at the
counter notices. With --external it acts: a printer prints a test slip. That waits until no sale is running.
"""
_EPILOG = """\
exit codes: 0 the device is ok; 1 it is not, or the test did not come to its end; 4 the test was refused.
Names of devices: posctl health. For example: posctl check printer-0 --external
"""


def _check(args: argparse.Namespace, screen: Screen) -> Exit:
    level = "external" if args.external else "internal"
    with client(args) as agent:
        raw = agent.call("health.check", {"device": args.device, "level": level})
        operation = decode(raw, answers.Operation, "health.check")
        if operation.state not in FINAL:
            if not screen.as_json and args.external:
                screen.line(operation_line(operation))
            raw, operation = follow(agent, operation, raw, args.wait, screen)
        device = _result(operation)
        faults = decode(agent.call("health.get"), answers.Health, "health.get").faults if device else []
    of_device = [fault for fault in faults if device and fault.device == device.device]
    if screen.as_json:
        screen.document(raw)
    elif device is None:
        screen.lines(operation_lines(operation, screen.style))
    else:
        screen.lines(checked_lines(device, of_device, advice, screen.style))
    if operation.state not in FINAL:
        return note_unfinished(operation, args.wait, screen)
    if operation.state != "succeeded":
        return exit_of(operation)
    return Exit.DONE if device is not None and device.state == "ok" else Exit.FAILED


def _result(operation: answers.Operation) -> answers.Device | None:
    """What the test found; None while it has not, or when it is told in a way that is not known here."""
    if operation.state != "succeeded":
        return None
    try:
        return msgspec.json.decode(operation.result, type=answers.Device)
    except msgspec.DecodeError:
        return None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _EPILOG
    parser.add_argument("device", type=device_name, metavar="DEVICE", help="its name, as posctl health shows it")
    parser.add_argument("--external", action="store_true", help="let it act: a printer prints a test slip")
    parser.add_argument(
        "--wait",
        type=seconds,
        default=DEFAULT_WAIT_S,
        metavar="SECONDS",
        help=f"for the end at most this long ({DEFAULT_WAIT_S:g})",
    )
    socket_options(parser, _check)


CHECK = Verb("check", "test one device now; exit 0 if it is ok", _add_arguments)
