"""An HTTPS server as a place for backups: PUT, GET to read back, DELETE, and an index that a restore begins with.

The server's certificate is always checked; its own is shown where one is configured. Redirects are not followed: what
is sent must not go anywhere else. The encrypted file waits in memory, or beside the store when it is large, because a
name is given only to what is complete.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from agent.backup.job import ServerPlace
from agent.backup.target import Measure
from agent.contract.backup_views import BackupKind
from agent.errors import TargetUnusable

INDEX: Final = "index.json"
_TIMEOUT_S: Final = 20.0
_READ_BYTES: Final = 256 * 1024
_MAX_INDEX_BYTES: Final = 16 * 1024 * 1024
_OK: Final = range(200, 300)
_HINTS: Final = {
    401: "the server does not know this terminal: give it a certificate in [[backup.server]]",
    403: "the server does not allow this terminal to write there",
    404: "there is no such place on the server: see url in [[backup.server]]",
    405: "the server takes no PUT there: see url in [[backup.server]]",
    413: "the server refuses files of this size: raise its limit",
    507: "the server has no room",
}


class IndexLine(Struct, frozen=True):
    """One file: its name within ``<site>/<terminal>/``, and what it must measure."""

    file: str
    size_bytes: int
    sha256: str


class Index(Struct, frozen=True):
    """``<site>/<terminal>/index.json``: every file there, in order of names. Only verified files come in."""

    files: list[IndexLine]
    format: int = 1


class ServerTarget:
    """One server; each call is one request on a connection of its own."""

    def __init__(self, place: ServerPlace, spool: Path) -> None:
        """``spool``: a folder for encrypted files that are too large for memory; they have no name there.

        Raises:
            TargetUnusable: The certificates that are configured cannot be used.
        """
        self._place = place
        parts = urlsplit(place.url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._path = parts.path.rstrip("/")
        self._spool = spool
        try:
            self._tls = ssl.create_default_context(cafile=place.ca_file)
            if place.certificate_file is not None:
                self._tls.load_cert_chain(place.certificate_file, place.key_file)
        except OSError as err:  # ssl.SSLError is one
            hint = "see ca_file, certificate_file and key_file in [[backup.server]]"
            raise TargetUnusable(f"the certificates of {place.name} cannot be used: {_said(err)}", hint=hint) from err

    @contextlib.contextmanager
    def writing(self, _folder: str, _kind: BackupKind, _token: str) -> Iterator[IO[bytes]]:
        with tempfile.TemporaryFile(dir=self._spool) as work:  # O_TMPFILE: gone with the process
            yield work

    def keep(self, work: IO[bytes], file: str, measure: Measure) -> None:
        work.seek(0)
        self._ask("PUT", file, body=work, length=measure.size_bytes)

    def confirm(self, file: str, measure: Measure) -> None:
        self._index(file, IndexLine(_below(file), measure.size_bytes, measure.sha256))

    def measure(self, file: str) -> Measure | None:
        digest, size = sha256(), 0
        with self._answer("GET", file) as answer:
            if answer.status == http.client.NOT_FOUND:
                return None
            self._check("GET", answer)
            with self._translated("GET"):
                while part := answer.read(_READ_BYTES):
                    digest.update(part)
                    size += len(part)
                if answer.length:  # of what was announced; http.client is silent about it
                    raise http.client.IncompleteRead(b"", answer.length)
        return Measure(size, digest.hexdigest())

    def remove(self, file: str) -> None:
        self._index(file, None)
        with self._answer("DELETE", file) as answer:
            if answer.status != http.client.NOT_FOUND:
                self._check("DELETE", answer)

    def names(self, folder: str) -> list[str]:
        within = f"{folder.rpartition('/')[2]}/"
        lines = self._read_index(folder).files
        return [line.file.removeprefix(within) for line in lines if line.file.startswith(within)]

    def close(self) -> None:
        """Nothing is held between two calls."""

    def _index(self, file: str, line: IndexLine | None) -> None:
        """Have the index name the file as ``line`` says, or not at all."""
        folder = file.rpartition("/")[0]
        before = self._read_index(folder)
        files = [one for one in before.files if one.file != _below(file)] + ([line] if line is not None else [])
        if files != before.files:
            content = msgspec.json.encode(Index(sorted(files, key=lambda one: one.file)))
            self._ask("PUT", f"{folder.rpartition('/')[0]}/{INDEX}", body=content, length=len(content))

    def _read_index(self, folder: str) -> Index:
        with self._answer("GET", f"{folder.rpartition('/')[0]}/{INDEX}") as answer:
            if answer.status == http.client.NOT_FOUND:
                return Index([])
            self._check("GET", answer)
            with self._translated("GET"):
                content = answer.read(_MAX_INDEX_BYTES)
        try:
            return msgspec.json.decode(content, type=Index)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            hint = f"move {INDEX} away there: a new one is begun, and the files that it named are still right"
            raise TargetUnusable(f"the index on {self._place.name} is none of ours", hint=hint) from err

    def _ask(self, method: str, file: str, *, body: IO[bytes] | bytes, length: int) -> None:
        with self._answer(method, file, body=body, length=length) as answer:
            self._check(method, answer)
            with self._translated(method):
                answer.read(_READ_BYTES)

    @contextlib.contextmanager
    def _answer(
        self, method: str, file: str, *, body: IO[bytes] | bytes | None = None, length: int = 0
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT_S, context=self._tls)
        try:
            with self._translated(method):
                headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
                if body is not None:
                    headers["Content-Length"] = str(length)
                answer = _answered(connection, method, f"{self._path}/{quote(file)}", body, headers)
            with answer:
                yield answer
        finally:
            connection.close()

    def _check(self, method: str, answer: http.client.HTTPResponse) -> None:
        if answer.status not in _OK:
            raise TargetUnusable(
                f"{self._place.name} answered {method} with {answer.status}",
                hint=_HINTS.get(answer.status, "see the server's own log; it is tried again"),
                status=answer.status,
            )

    @contextlib.contextmanager
    def _translated(self, method: str) -> Iterator[None]:
        try:
            yield
        except ssl.SSLCertVerificationError as err:
            raise TargetUnusable(
                f"the certificate of {self._place.name} is not trusted: {err.verify_message}",
                hint="see ca_file and the name in url; nothing was sent",
            ) from err
        except (OSError, http.client.HTTPException) as err:
            raise TargetUnusable(
                f"{self._place.name} cannot be reached ({method}): {_said(err)}",
                hint="see that the server runs and the network reaches it; it is tried again",
            ) from err


def _answered(
    connection: http.client.HTTPSConnection,
    method: str,
    path: str,
    body: IO[bytes] | bytes | None,
    headers: dict[str, str],
) -> http.client.HTTPResponse:
    """The answer, also of a server that refuses before it has read the whole file."""
    connection.connect()
    try:
        connection.request(method, path, body=body, headers=headers)
    except OSError as err:
        try:
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            raise err from None
    return connection.getresponse()


def _below(file: str) -> str:
    """``<journal_id>/<name>`` out of the whole name."""
    return "/".join(file.split("/")[-2:])


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS failed"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return type(error).__name__
