"""A receiver that costs little: TLS and login where asked for, an answer after a wait, and a count of Message-IDs.

``python -m bench.receiver PORT FILE [--tls] [--wait SECONDS]``: one line per taken message in FILE, written before the answer:
monotonic seconds and Message-ID.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import re
import signal
import ssl
import tempfile
import time
from pathlib import Path

_ID = re.compile(rb"(?:^|\r\n)Message-ID: *(?:\r\n )?(\S+)", re.IGNORECASE)
_HELLO = b"250-bench\r\n250-PIPELINING\r\n250-SIZE 36700160\r\n250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n250 ENHANCEDSTATUSCODES\r\n"


class Talk(asyncio.Protocol):
    """One connection: commands by lines, the body up to its dot."""

    def __init__(self, file: int, wait: float) -> None:
        self._file = file
        self._wait = wait
        self._got = bytearray()
        self._body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._wire.write(b"220 bench ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._got += data
        while self._got:
            if self._body:
                end = self._got.find(b"\r\n.\r\n")
                if end < 0:
                    return
                self._take(bytes(self._got[:end]))
                del self._got[: end + 5]
                self._body = False
                continue
            end = self._got.find(b"\r\n")
            if end < 0:
                return
            line = bytes(self._got[:end])
            del self._got[: end + 2]
            self._command(line[:4].upper())

    def _command(self, verb: bytes) -> None:
        if verb == b"EHLO":
            self._wire.write(_HELLO)
        elif verb == b"AUTH":
            self._wire.write(b"235 2.7.0 Ok\r\n")
        elif verb == b"DATA":
            self._body = True
            self._wire.write(b"354 Go ahead\r\n")
        elif verb == b"QUIT":
            self._wire.write(b"221 2.0.0 Bye\r\n")
            self._wire.close()
        else:
            self._wire.write(b"250 2.1.0 Ok\r\n")

    def _take(self, message: bytes) -> None:
        found = _ID.search(message)
        os.write(self._file, b"%.6f %s\n" % (time.time(), found.group(1) if found else b"-"))
        if self._wait:
            asyncio.get_running_loop().call_later(self._wait, self._answer)
        else:
            self._answer()

    def _answer(self) -> None:
        if not self._wire.is_closing():
            self._wire.write(b"250 2.0.0 Ok: taken\r\n")


def certificate(folder: Path) -> ssl.SSLContext:
    """A fresh certificate on P-256 for 127.0.0.1."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30)).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def serve(port: int, path: Path, tls: bool, wait: float) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    context = None
    if tls:
        with tempfile.TemporaryDirectory() as folder:
            context = certificate(Path(folder))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Talk(file, wait), "127.0.0.1", port, ssl=context, backlog=2048)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("port", type=int)
    words.add_argument("path", type=Path)
    words.add_argument("--tls", action="store_true")
    words.add_argument("--wait", type=float, default=0.0)
    chosen = words.parse_args()
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(chosen.port, chosen.path, chosen.tls, chosen.wait))


if __name__ == "__main__":
    main()
