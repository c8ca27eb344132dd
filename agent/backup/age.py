"""age (https://age-encryption.org/v1): to several recipients at once, as a stream. The only import of ``pyrage``.

Where pyrage is not installed the ``age`` program does the same work; both take the same keys and the same files. Used
in child processes and by commands of operators, never in the daemon. Private keys stand in no file, argument or error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from types import ModuleType
from typing import IO, Any, NamedTuple, Protocol

from agent.errors import BackupUnusable, BadRequest, NeedsPerson

_library: ModuleType | None
try:
    import pyrage as _library  # type: ignore[import-untyped,no-redef]
except ImportError:  # a machine that there is no wheel for
    _library = None


class KeyPair(NamedTuple):
    """``secret``: the line ``AGE-SECRET-KEY-1…``, for its owner alone; ``public``: the recipient ``age1…``."""

    secret: str
    public: str


class Age(Protocol):
    """What is needed of age, whoever does it."""

    def encrypting(self, out: IO[bytes], recipients: Sequence[str]) -> AbstractContextManager[IO[bytes]]:
        """A stream to write to; its encrypted form is in ``out``, whole, once the block was left without an error.

        Args:
            out: Written from where it stands, by another thread, and left open.

        Raises:
            BadRequest: There is no recipient, or one is no public key of age.
            OSError: ``out`` could not be written.
        """
        ...

    def decrypting(self, source: IO[bytes], identities: Sequence[str]) -> AbstractContextManager[IO[bytes]]:
        """A stream to read what ``source`` holds encrypted; one that is left before its end was not proved.

        Args:
            source: A real file, read from where it stands.

        Raises:
            BackupUnusable: On leaving the block: cut short, altered, or encrypted to other keys.
            BadRequest: One of ``identities`` is no private key of age.
        """
        ...

    def generate(self) -> KeyPair:
        """A new key pair."""
        ...

    def public_of(self, secret: str) -> str:
        """The recipient of a private key. Raises BadRequest when it is none."""
        ...

    def check_recipient(self, recipient: str) -> None:
        """Raises BadRequest unless it is a public key of age."""
        ...


class Library:
    """By pyrage, in this process: a thread of it stands between our streams and its own."""

    def __init__(self, library: Any) -> None:
        self._library = library

    @contextlib.contextmanager
    def encrypting(self, out: IO[bytes], recipients: Sequence[str]) -> Iterator[IO[bytes]]:
        keys = self._recipients(recipients)
        source, ours = _pipe()
        target = _Watched(out)
        work = _InThread(lambda: self._library.encrypt_io(source, target, keys), source, self._errors())
        ended_first = False
        try:
            with ours:
                yield ours
        except BrokenPipeError:
            ended_first = True
        finally:
            work.wait()
        if target.error is not None:
            raise target.error
        if ended_first or work.error is not None:
            raise OSError(errno.EIO, "the encryption ended early") from work.error

    @contextlib.contextmanager
    def decrypting(self, source: IO[bytes], identities: Sequence[str]) -> Iterator[IO[bytes]]:
        keys = [self._identity(one) for one in identities]
        ours, target = _pipe()
        watched = _Watched(source)
        work = _InThread(lambda: self._library.decrypt_io(watched, target, keys), target, self._errors())
        read_whole = False
        try:
            try:
                yield ours
            finally:
                read_whole = not ours.read(1)
                ours.close()
                work.wait()
        except BackupUnusable as err:
            if read_whole and work.error is not None:  # what it could read ended too early, and this is why
                raise watched.error or _unusable(work.error) from err
            raise
        if read_whole and work.error is not None:
            raise watched.error or _unusable(work.error)

    def generate(self) -> KeyPair:
        identity = self._library.x25519.Identity.generate()
        return KeyPair(str(identity), str(identity.to_public()))

    def public_of(self, secret: str) -> str:
        return str(self._identity(secret).to_public())

    def check_recipient(self, recipient: str) -> None:
        self._recipients([recipient])

    def _errors(self) -> tuple[type[Exception], ...]:
        return (OSError, ValueError, self._library.EncryptError, self._library.DecryptError)

    def _recipients(self, recipients: Sequence[str]) -> list[Any]:
        try:
            keys = [self._library.x25519.Recipient.from_str(one) for one in recipients]
        except self._library.RecipientError as err:
            raise _no_recipient() from err
        if not keys:
            raise _no_recipient()
        return keys

    def _identity(self, secret: str) -> Any:
        try:
            return self._library.x25519.Identity.from_str(secret.strip())
        except self._library.IdentityError:
            raise _no_identity() from None  # its text may speak of the key


class Program:
    """By the programs ``age`` and ``age-keygen``; private keys reach them in memory."""

    def __init__(self, age: str = "age", keygen: str = "age-keygen") -> None:
        self._age = age
        self._keygen = keygen

    @contextlib.contextmanager
    def encrypting(self, out: IO[bytes], recipients: Sequence[str]) -> Iterator[IO[bytes]]:
        if not recipients:
            raise _no_recipient()
        for one in recipients:
            self.check_recipient(one)
        argv = [self._age, *(word for one in recipients for word in ("-r", one))]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with _ended(process):
            source = _stream(process.stdout)
            work = _InThread(lambda: shutil.copyfileobj(source, out), source, (OSError,))
            try:
                with suppress(BrokenPipeError), _stream(process.stdin) as stdin:
                    yield stdin
            finally:
                work.wait()
            if work.error is not None:
                raise work.error
            if process.wait() != 0:
                raise OSError(errno.EIO, "the encryption ended early")

    @contextlib.contextmanager
    def decrypting(self, source: IO[bytes], identities: Sequence[str]) -> Iterator[IO[bytes]]:
        for one in identities:
            self.public_of(one)
        keys = _in_memory("\n".join(one.strip() for one in identities))
        try:
            process = subprocess.Popen(
                [self._age, "-d", "-i", f"/dev/fd/{keys}"],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(keys,),
            )
        finally:
            os.close(keys)
        read_whole = False
        with _ended(process):
            stdout = _stream(process.stdout)
            try:
                try:
                    yield stdout
                finally:
                    read_whole = not stdout.read(1)
            except BackupUnusable as err:
                if read_whole and process.wait() != 0:
                    raise _unusable() from err
                raise
            if read_whole and process.wait() != 0:
                raise _unusable()

    def generate(self) -> KeyPair:
        done = subprocess.run([self._keygen], capture_output=True, check=True)
        secret = next(line for line in done.stdout.decode().splitlines() if not line.startswith("#"))
        return KeyPair(secret, self.public_of(secret))

    def public_of(self, secret: str) -> str:
        done = subprocess.run([self._keygen, "-y"], input=secret.strip().encode(), capture_output=True, check=False)
        if done.returncode != 0:
            raise _no_identity()
        return done.stdout.decode().strip()

    def check_recipient(self, recipient: str) -> None:
        argv = [self._age, "-r", recipient]
        if subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
            raise _no_recipient()


def present() -> Age:
    """Whoever does age's work on this machine.

    Raises:
        NeedsPerson: Nobody.
    """
    if _library is not None:
        return Library(_library)
    if shutil.which("age") is None or shutil.which("age-keygen") is None:
        raise NeedsPerson("age is not installed: nothing can be encrypted or decrypted", hint="apt install age")
    return Program()


class _Watched:
    """A stream that keeps the error which pyrage turns into a text."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        with self._kept():
            return self._stream.read(size)

    def write(self, content: bytes) -> int:
        with self._kept():
            return self._stream.write(content)

    def flush(self) -> None:
        with self._kept():
            self._stream.flush()

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            self.error = err
            raise


class _InThread:
    """Work beside this thread. Its end of the pipe is closed when it is over, so that nobody waits for it in vain."""

    def __init__(self, work: Callable[[], None], its_end: IO[bytes], errors: tuple[type[Exception], ...]) -> None:
        self.error: Exception | None = None
        self._errors = errors
        self._work = work
        self._its_end = its_end
        self._thread = threading.Thread(target=self._run, name="age", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except self._errors as err:
            self.error = err
        finally:
            with suppress(OSError):
                self._its_end.close()

    def wait(self) -> None:
        self._thread.join()


def _pipe() -> tuple[IO[bytes], IO[bytes]]:
    source, target = os.pipe2(os.O_CLOEXEC)
    return open(source, "rb"), open(target, "wb")


def _in_memory(text: str) -> int:
    """A descriptor that holds ``text`` and is no file anywhere."""
    descriptor = os.memfd_create("age")
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leaves neither the process nor its pipes behind."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _stream(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise OSError(errno.EPIPE, "the program has no such stream")
    return stream


def _no_recipient() -> BadRequest:
    return BadRequest(
        "there is no public key of age to encrypt to",
        field="backup.recipients",
        hint="give lines that begin with age1, as age-keygen prints them",
    )


def _no_identity() -> BadRequest:
    return BadRequest("this is no private key of age", hint="give a line that begins with AGE-SECRET-KEY-1")


def _unusable(cause: Exception | None = None) -> BackupUnusable:
    error = BackupUnusable(
        "the file cannot be decrypted: it is cut short or altered, or encrypted to other keys",
        hint="use the private key of one of its recipients, or another file",
    )
    error.__cause__ = cause
    return error
