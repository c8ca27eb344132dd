"""Devices behind a pty whose faults can be switched on while they run: for integrators, demo and tests. No hardware.

They are shipped, speak the bytes of the real device, and keep counters of their own, so that a test need not take the
word of the program it tests. ``python -m drivers.emulators printer --port PATH --control PATH`` starts one.
"""
