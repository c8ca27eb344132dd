"""Where an ESC/POS command ends, so that an emulator can skip what it does not draw. Pure.

Source: Epson ESC/POS command reference. Left out: user-defined characters (ESC &) and NV graphics of old models (FS q).
"""

from __future__ import annotations

from collections.abc import Callable

DLE, ESC, GS, FS, LF = 0x10, 0x1B, 0x1D, 0x1C, 0x0A

_FIXED: dict[int, dict[int, int]] = {  # length by the second byte; 3 where it is not listed
    ESC: {**dict.fromkeys(b"@2<imLS\x0c", 2), **dict.fromkeys(b"c$\\", 4), ord("p"): 5, ord("W"): 10},
    GS: {**dict.fromkeys(b"LWP$\\", 4), ord(":"): 2, ord("^"): 5},
    FS: {**dict.fromkeys(b"&.", 2), **dict.fromkeys(b"Sp", 4)},
}


def command_length(data: bytes | bytearray) -> int | None:
    """Bytes of the command (or the one character) at the beginning of ``data``; ``None`` if more must come first."""
    first = data[0]
    if first == DLE:
        return _dle_length(data)
    if first not in _FIXED:
        return 1
    if len(data) < 2:
        return None
    variable = _VARIABLE.get(bytes(data[:2]))
    length = variable(data) if variable is not None else _FIXED[first].get(data[1], 3)
    return length if length is not None and length <= len(data) else None


def _dle_length(data: bytes | bytearray) -> int | None:
    if len(data) < 3:
        return None if len(data) < 2 or data[1] in {0x04, 0x05, 0x14} else 1
    length = {0x04: 3, 0x05: 3, 0x14: 10 if data[2] == 8 else 5}.get(data[1], 1)
    return length if length <= len(data) else None


def _number(data: bytes | bytearray, at: int, size: int = 2) -> int | None:
    """Little-endian number, if it is there."""
    return int.from_bytes(data[at : at + size], "little") if len(data) >= at + size else None


def _until_nul(data: bytes | bytearray) -> int | None:
    end = data.find(0, 3)
    return end + 1 if end >= 0 else None


def _counted(at: int, size: int = 2) -> Callable[[bytes | bytearray], int | None]:
    """Length is what a number in the head says, behind the head."""

    def length(data: bytes | bytearray) -> int | None:
        count = _number(data, at, size)
        return None if count is None else at + size + count

    return length


def _cut(data: bytes | bytearray) -> int | None:
    return None if len(data) < 3 else (3 if data[2] in {0, 1, 48, 49} else 4)


def _barcode(data: bytes | bytearray) -> int | None:
    if len(data) < 4:
        return None
    return _until_nul(data) if data[2] <= 6 else 4 + data[3]


def _raster(data: bytes | bytearray) -> int | None:
    width, height = _number(data, 4), _number(data, 6)
    return None if width is None or height is None else 8 + width * height


def _bit_image(data: bytes | bytearray) -> int | None:
    columns = _number(data, 3)
    return None if columns is None else 5 + columns * (3 if data[2] in {32, 33} else 1)


def _defined_image(data: bytes | bytearray) -> int | None:
    return None if len(data) < 4 else 4 + data[2] * data[3] * 8


_VARIABLE: dict[bytes, Callable[[bytes | bytearray], int | None]] = {
    b"\x1bD": _until_nul,
    b"\x1b*": _bit_image,
    b"\x1b(": _counted(3),
    b"\x1dV": _cut,
    b"\x1dk": _barcode,
    b"\x1dv": _raster,
    b"\x1d*": _defined_image,
    b"\x1d(": _counted(3),
    b"\x1d8": _counted(3, 4),
    b"\x1c(": _counted(3),
}
