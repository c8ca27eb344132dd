"""Certificates for TLS servers in tests, by the program openssl: an authority, and servers good and bad."""

from __future__ import annotations

import subprocess
from pathlib import Path

_EC_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """Signs server certificates. ``file`` is its own, PEM."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = name
        self.file = folder / f"{name}.pem"
        folder.mkdir(parents=True, exist_ok=True)
        self._openssl(
            *("req", "-x509", *_EC_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"),
            *("-days", "400"),
        )

    def server(self, host: str, *, days: int = 90) -> tuple[Path, Path]:
        """Certificate and key of a server; ``days`` −1 makes one that has ended already."""
        stem = f"{self._name}-{host}-{days}"
        kind = "IP" if host.replace(".", "").isdigit() else "DNS"
        (self._folder / f"{stem}.san").write_text(f"subjectAltName={kind}:{host}\n")
        self._openssl("req", *_EC_KEY, "-keyout", f"{stem}.key", "-out", f"{stem}.csr", "-subj", "/CN=server")
        self._openssl(
            *("x509", "-req", "-in", f"{stem}.csr", "-CA", self.file.name, "-CAkey", f"{self._name}.key"),
            *("-CAcreateserial", "-days", str(days), "-extfile", f"{stem}.san", "-out", f"{stem}.pem"),
        )
        return self._folder / f"{stem}.pem", self._folder / f"{stem}.key"

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self._folder, check=True, capture_output=True, timeout=60)
