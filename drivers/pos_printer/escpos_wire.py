"""ESC/POS real-time status and the few commands a health check needs: bytes in, PrinterStatus out. No I/O in this file.

Source: Epson ESC/POS command reference: DLE EOT, DLE ENQ, GS r, GS a, GS I, and its rules for telling replies apart.
Left out: rendering receipts, ink and label models (DLE EOT 7, 8), decoding of automatic status back (it is recognised
and taken out of the stream, so that a printer on which another program switched it on can still be asked).
"""

from __future__ import annotations

from msgspec import Struct

from drivers.contract import PrinterStatus, Sensor
from drivers.errors import ProtocolViolation

STATUS_QUERIES: tuple[bytes, ...] = (b"\x10\x04\x01", b"\x10\x04\x02", b"\x10\x04\x03", b"\x10\x04\x04")
RECOVER_AND_CLEAR = b"\x10\x05\x02"  # DLE ENQ 2: after a recoverable error, buffers cleared
CONFIRM_PROCESSED = b"\x1dr\x01"  # GS r 1: queued, so its answer says that all before it was processed
FEED_AND_CUT = b"\x1dVB\x00"  # GS V 66 0: feed to the cutter, partial cut

XON, XOFF = 0x11, 0x13
_ASB_LENGTH = 4
_RULER_COLUMNS = 32  # fits 58 mm paper


class Replies(Struct, frozen=True):
    """A piece of the printer's output, told apart.

    Attributes:
        answers: Bytes that are answers, or cannot be anything; in order. Flow control and ASB reports are gone.
        pending: The beginning of an ASB report whose rest has not arrived: put it before the next piece.
    """

    answers: bytes
    pending: bytes


def split_replies(data: bytes) -> Replies:
    """Take XON, XOFF and four-byte ASB reports out of ``data``.

    An ASB report begins with 0xx1_xx00; the next three bytes other than XON and XOFF belong to it.
    """
    answers = bytearray()
    asb = bytearray()
    for byte in data:
        if byte in {XON, XOFF}:
            continue
        if asb or byte & 0x93 == 0x10:
            asb.append(byte)
            if len(asb) == _ASB_LENGTH:
                asb.clear()
        else:
            answers.append(byte)
    return Replies(bytes(answers), bytes(asb))


def is_status_answer(byte: int) -> bool:
    """Whether a byte can be an answer to DLE EOT: 0xx1_xx10. Neither 0x00 nor 0xFF can."""
    return byte & 0x93 == 0x12


def parse_status(answers: bytes, sensors: frozenset[str], device: str) -> PrinterStatus:
    """Read the four answers to ``STATUS_QUERIES``.

    Args:
        answers: Exactly 4 bytes, one per query, in query order.
        sensors: What the model has; see `Sensor`.
        device: Name for errors.

    Raises:
        ProtocolViolation: Wrong length, a byte that breaks the fixed pattern, or a lone bit of a pair.
    """
    if len(answers) != len(STATUS_QUERIES) or not all(map(is_status_answer, answers)):
        raise ProtocolViolation(device, f"not a status answer: {answers[:16].hex(' ') or 'nothing'}")
    printer, offline_cause, error_cause, roll = answers
    return PrinterStatus(
        drawer_pin_high=bool(printer & 0x04),
        offline=bool(printer & 0x08),
        waiting_for_recovery=bool(printer & 0x20),
        feed_button_pressed=bool(printer & 0x40),
        cover_open=_sensed(bool(offline_cause & 0x04), Sensor.COVER in sensors),
        paper_fed_by_button=bool(offline_cause & 0x08),
        printing_stopped_by_paper_end=bool(offline_cause & 0x20),
        error_present=bool(offline_cause & 0x40),
        mechanical_error=bool(error_cause & 0x04),
        cutter_error=bool(error_cause & 0x08),
        unrecoverable_error=bool(error_cause & 0x20),
        auto_recoverable_error=bool(error_cause & 0x40),
        near_end=_sensed(_pair(roll, 0x0C, "near-end", device), Sensor.NEAR_END in sensors),
        paper_end=_sensed(_pair(roll, 0x60, "paper-end", device), Sensor.PAPER_END in sensors),
    )


def parse_processed(answer: int, device: str) -> None:
    """Check the answer to ``CONFIRM_PROCESSED``; its arrival is what counts, its paper bits are left to DLE EOT 4.

    Raises:
        ProtocolViolation: Not of the form 0xx0_xxxx, or a lone bit of a pair.
    """
    if answer & 0x90:
        raise ProtocolViolation(device, f"not an answer to GS r 1: {answer:02x}")
    _pair(answer, 0x03, "near-end", device)
    _pair(answer, 0x0C, "paper-end", device)


def compose_initialisation(code_page: int | None = None, character_set: int | None = None) -> bytes:
    """Back to the state after switching on, then to the standard values of the model.

    Args:
        code_page: Number of ESC t, 0 to 255; the printer's own default where it is None.
        character_set: Number of ESC R (international characters), 0 to 255; likewise.
    """
    initialisation = b"\x1b@"
    if character_set is not None:
        initialisation += b"\x1bR" + bytes((character_set,))
    if code_page is not None:
        initialisation += b"\x1bt" + bytes((code_page,))
    return initialisation


def compose_test_slip(title: str, *, begin: bytes = b"\x1b@", chinese: bool = False, cut: bool = True) -> bytes:
    """A slip that shows columns, characters, a barcode and a QR code, without any real-time command inside.

    Args:
        title: First line; anything outside printable ASCII is replaced.
        begin: See `compose_initialisation`; afterwards the printer is in that state.
        chinese: Add a line in GB 18030, for models with that font.
        cut: End with feed and partial cut; else with a feed by six lines.
    """
    printable = "".join(char if " " <= char <= "~" else "?" for char in title)[:_RULER_COLUMNS]
    ruler = "".join(str(column % 10) for column in range(1, _RULER_COLUMNS + 1))
    lines = [printable, "TEST SLIP - NOT A RECEIPT", ruler, "#" * _RULER_COLUMNS]
    slip = begin + b"".join(line.encode("ascii") + b"\n" for line in lines)
    if chinese:
        slip += b"\x1c&" + "测试页 打印正常".encode("gb18030") + b"\n\x1c."
    slip += b"\x1dh\x30" + b"\x1dk\x04*TEST*\x00"  # height 48 dots; CODE39
    slip += _qr_code(b"TEST SLIP")
    return slip + (FEED_AND_CUT if cut else b"\x1bd\x06")


def _qr_code(data: bytes) -> bytes:
    """GS ( k: module size 4, error correction L, store, print."""
    store = len(data) + 3
    return (
        b"\x1d(k\x03\x001C\x04"
        + b"\x1d(k\x03\x001E0"
        + b"\x1d(k"
        + bytes((store % 256, store // 256))
        + b"1P0"
        + data
        + b"\x1d(k\x03\x001Q0\n"
    )


def _pair(byte: int, mask: int, what: str, device: str) -> bool:
    """Two bits that are always equal in a genuine answer."""
    if byte & mask not in {0, mask}:
        raise ProtocolViolation(device, f"a lone {what} bit: {byte:02x}")
    return bool(byte & mask)


def _sensed(reported: bool, has_sensor: bool) -> bool | None:
    """Trouble is believed from anyone, silence only from a sensor that exists."""
    return True if reported else (False if has_sensor else None)
