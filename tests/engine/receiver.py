"""A provider for the kill loop: takes mail and counts it durably, and files a copy of what it took in the sender's Sent folder.

``python -m tests.engine.receiver`` reads one JSON object from standard input and serves until it is killed. Of a copy only the Message-ID is
kept, which is all that a search needs. The control port answers every line with `<newest session> <oldest open session>`, so that
a test can wait until everything that a dead process wrote has been read to its end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from sandbox.mail.server import LOCALHOST, MailConfig, MailServer
from sandbox.mail.sink import Sink, SinkRates
from sandbox.mail.store import SEEN, Account, MailStore


class Provider(Sink):
    """A sink that copies to Sent and knows which of its sessions are open."""

    def __init__(self, path: Path, rates: SinkRates, store: MailStore) -> None:
        super().__init__(path, rates)
        self._store = store
        self._open: set[int] = set()

    def counted(self, sender: bytes, message_id: bytes) -> None:
        account = self._store.accounts[sender.decode().lower()]
        self._store.append(account, account.folders["Sent"], b"Message-ID: " + message_id + b"\r\n\r\n", {SEEN})

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self._sessions + 1
        self._open.add(number)
        try:
            await super()._session(reader, writer)
        finally:
            self._open.discard(number)

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await asyncio.sleep(0.02)  # whoever was accepted by the kernel before has got a number by now
            newest = self._sessions
            writer.write(f"{newest} {min(self._open, default=newest + 1)}\n".encode())


async def serve(given: dict[str, object]) -> None:
    mail = MailServer(MailConfig(smtp_port=None, mx_port=None, imap_port=int(str(given["imap_port"]))))
    for address in list(given["addresses"]):  # type: ignore[call-overload]
        mail.store.add_account(Account(address, str(given["password"])))
    provider = Provider(Path(str(given["path"])), SinkRates(**given["rates"]), mail.store)  # type: ignore[arg-type]
    await mail.start()
    await asyncio.start_server(provider.control, LOCALHOST, int(str(given["control_port"])))
    await provider.start(int(str(given["smtp_port"])))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.stdin.read())))
