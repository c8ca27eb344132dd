"""The agent that lives on a payment terminal. Empty on purpose: importing one room loads no other."""

__version__ = "0.1.0"
