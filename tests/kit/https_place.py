"""A server that takes files by PUT and gives them back, over TLS, in a process of its own, with faults on demand.

``python -m tests.kit.https_place FOLDER CERTIFICATE KEY [CLIENT_CA]`` prints its port. Files are below FOLDER; what
FOLDER's file ``fault`` says is done with the next requests until it is removed:

``503``: every request is answered so. ``cut-put``: the connection is closed in the middle of a PUT. ``cut-get``: in the
middle of an answer. ``short-get``: an answer is one byte shorter than the file. ``other-get``: its last byte differs.
``no-put``: 405 to PUT. ``no-delete``: 405 to DELETE. ``redirect``: 302 to somewhere else. ``silent``: no answer at all.
"""

from __future__ import annotations

import http.server
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.kit.agent_process import ROOT
from tests.kit.certificates import Authority


class HttpsPlace:
    """The server's process; everything is below ``folder``."""

    def __init__(self, folder: Path, *, client_ca: Path | None = None) -> None:
        self.folder = folder / "files"
        self.folder.mkdir(parents=True)
        self.authority = Authority(folder / "ca")
        certificate, key = self.authority.server("127.0.0.1")
        self._fault = folder / "files" / "fault"
        more = [str(client_ca)] if client_ca is not None else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kit.https_place", str(self.folder), str(certificate), str(key), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.url = f"https://127.0.0.1:{self.port}/backups/"

    def fault(self, kind: str | None) -> None:
        """From now on; None: all is well."""
        if kind is None:
            self._fault.unlink(missing_ok=True)
        else:
            self._fault.write_text(kind)

    def names(self) -> list[str]:
        """Names of the files that were put, without their folders."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file() and path != self._fault)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> HttpsPlace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    folder: Path

    def _asked(self, method: str) -> Path | None:
        """The file that is meant; None where the answer was given already."""
        fault_file = self.folder / "fault"
        self.fault = fault_file.read_text() if fault_file.exists() else ""
        if self.fault == "silent":
            time.sleep(600)
        if method == "PUT" and self.fault in ("503", "no-put", "redirect"):
            self.rfile.read(int(self.headers["Content-Length"]))
        if self.fault == "503" or self.fault == f"no-{method.lower()}":
            self._answer(503 if self.fault == "503" else 405)
            return None
        if self.fault == "redirect":
            self.send_response(302)
            self.send_header("Location", "https://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        return self.folder / self.path.removeprefix("/backups/")

    def do_PUT(self) -> None:
        file = self._asked("PUT")
        if file is None:
            return
        length = int(self.headers["Content-Length"])
        if self.fault == "cut-put":
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        content = self.rfile.read(length)
        if len(content) == length:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            self._answer(201)

    def do_GET(self) -> None:
        file = self._asked("GET")
        if file is None:
            return
        if not file.is_file():
            self._answer(404)
            return
        content = file.read_bytes()
        if file.suffix == ".age" and self.fault == "short-get":
            content = content[:-1]
        if file.suffix == ".age" and self.fault == "other-get":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.fault == "cut-get" else content)
        if self.fault == "cut-get":
            self.close_connection = True

    def do_DELETE(self) -> None:
        file = self._asked("DELETE")
        if file is not None:
            self._answer(204 if file.is_file() else 404)
            file.unlink(missing_ok=True)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def main(folder: str, certificate: str, key: str, client_ca: str | None = None) -> None:
    """Serve until killed."""
    _Handler.folder = Path(folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    if client_ca is not None:
        tls.verify_mode = ssl.CERT_REQUIRED
        tls.load_verify_locations(client_ca)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
