"""Screens: connector and backlight as the kernel sees them."""
