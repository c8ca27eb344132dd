"""Makes the Debian package: ``python -m package.build_deb``, or ``make deb``. Nothing here runs in the daemon."""
