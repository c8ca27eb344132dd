"""Hardware drivers of a payment terminal: printers, and the board itself. They know nothing of the agent.

**How to add a driver: one file and one line.**

1. ``drivers/<category>/<protocol>.py`` (and, beside it, ``<protocol>_wire.py``: the protocol as pure functions, bytes
   to structs, without clock, socket or logger). A category is named as in UnifiedPOS (``pos_printer``, ``scanner``…).
   A driver is stream + wire + deadline: take a transport from ``drivers/transports/``, one lock so that one exchange is
   under way at a time, and `asyncio.timeout` around the whole of it; translate foreign errors once, into
   ``drivers/errors.py``; after any error drop the stream, so that the next call opens the port afresh. A device that
   is known by what the kernel lists of it (keypad, screen) has a synchronous ``read()`` instead; see
   ``drivers/sysfs_contract.py``. What can recover or be set to a standard state says so by `Recoverable` and
   `Initialisable`.
   Follow the protocol of the category in ``drivers/contract.py`` (`PrinterDevice` for a printer)::

        def build_acme(spec: DeviceSpec) -> PrinterDevice:
            return AcmePrinter(spec, SerialPort(spec.name, spec.port, spec.baud_rate))

2. One line in ``drivers/catalog.py``::

        DRIVERS: dict[str, Driver] = {…, "acme": Driver("pos_printer", build_acme)}

   Now ``driver = "acme"`` works in a model file, and the tests that run over the catalog run over your driver.

A host source is the same: one file in ``drivers/host/`` with a synchronous ``read()``, one line in ``HOST_SOURCES``.
An emulator, so that others can try your driver without the hardware: ``drivers/emulators/``, one line in ``EMULATORS``.

Two rules. Silence is never health: what a model cannot sense is ``None``, what did not answer is an error. And a port
may stop draining, vanish in the middle of a byte, or speak another protocol: no call outlives its deadline.
"""
