"""A road to PostgreSQL that breaks at a chosen statement: the connection ends before it, after it, or is ended by the server.

The proxy understands just enough of the protocol to know where a statement begins (Query, or everything up to Sync), what it says,
and when the server has finished it (ReadyForQuery). *Before*: the server never sees the statement. *After*: the server has done it,
the answer never arrives. *Terminated*: ``pg_terminate_backend`` strikes as the statement arrives. *Uncommitted*, where COMMIT rides in
the trip of the last statements: the server has done those, and never sees it.
"""

from __future__ import annotations

import asyncio
import re
import struct
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

import psycopg

MODES = ("before", "after", "uncommitted", "terminated")
RIDING = " and COMMIT"
STARTUP = 196_608
OFTEN = 8


@dataclass
class Plan:
    """Which statements are cut: each once per mode and pass, with a pause in between. ``seen``: how often each passed."""

    passes: int = 1
    pause_s: float = 0.02
    on: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    cuts: Counter[tuple[str, str]] = field(default_factory=Counter)
    last_at: float = 0.0

    def choose(self, statement: str) -> str | None:
        if not self.on:
            return None
        self.seen[statement] += 1
        if time.monotonic() - self.last_at < self.pause_s:
            return None
        for mode in self.modes(statement):
            if self.cuts[statement, mode] < self.passes:
                self.cuts[statement, mode] += 1
                self.last_at = time.monotonic()
                return mode
        return None

    def uncut(self) -> list[str]:
        """Statements that were seen and not cut in every mode yet; what hardly ever comes by is not waited for."""
        often = [name for name, count in list(self.seen.items()) if count >= OFTEN]
        return [name for name in often if any(self.cuts[name, mode] < self.passes for mode in self.modes(name))]

    def modes(self, statement: str) -> tuple[str, ...]:
        """All that there are for it; in a single pass only every third statement is also terminated by the server."""
        ends = self.passes > 1 or zlib.crc32(statement.encode()) % 3 == 0
        return tuple(mode for mode in MODES if (mode != "terminated" or ends) and (mode != "uncommitted" or RIDING in statement))


class CuttingProxy:
    """``with CuttingProxy(port, admin_url, plan) as proxy: proxy.port``. Cuts only connections of sending engines."""

    def __init__(self, server_port: int, admin_url: str, plan: Plan) -> None:
        self.plan = plan
        self.port = 0
        self.admin: psycopg.Connection[tuple[object, ...]] = psycopg.connect(admin_url, autocommit=True)
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutting-proxy", daemon=True)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    async def _start(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.admin.close()

    async def _end(self) -> None:
        self._listener.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        road = _Road(self, (reader, writer), up)
        await road.run()


class _Road:
    """One connection through the proxy."""

    def __init__(self, proxy: CuttingProxy, client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
                 server: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:  # fmt: skip
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._prepared: dict[str, str] = {}
        self._swallow = False
        self._ready = asyncio.Event()
        self._backend = 0
        self._awaited = 0  # statements whose end is waited for where no ReadyForQuery will come
        self._first = self._last = ""
        self._inside = False  # a transaction

    async def run(self) -> None:
        back = asyncio.create_task(self._backwards())
        try:
            await self._forwards()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            back.cancel()
            self._to_client.transport.abort()
            self._to_server.transport.abort()

    async def _forwards(self) -> None:
        ours = await self._greet()
        while True:
            unit = await self._unit()
            mode = self._proxy.plan.choose(self._named(unit)) if ours else None
            if mode == "before":
                raise ConnectionAbortedError
            if mode == "terminated":
                self._proxy.admin.execute("SELECT pg_terminate_backend(%s)", (self._backend,))
            self._ready.clear()
            self._swallow = mode in ("after", "uncommitted")
            if mode == "uncommitted":
                unit = self._without_commit(unit)
            self._to_server.write(b"".join(kind + body for kind, body in unit))
            await self._to_server.drain()
            if self._swallow:
                await asyncio.wait_for(self._ready.wait(), 10)
                raise ConnectionAbortedError

    async def _greet(self) -> bool:
        """Up to the StartupMessage (questions for encryption go before it). Whether this is an engine's connection."""
        while True:
            head = await self._from_client.readexactly(8)
            length, code = struct.unpack("!ii", head)
            rest = await self._from_client.readexactly(length - 8)
            self._to_server.write(head + rest)
            if code == STARTUP:
                return b"emberpost dispatch@" in rest

    async def _unit(self) -> list[tuple[bytes, bytes]]:
        """The messages of one statement: (type, length and body)."""
        unit: list[tuple[bytes, bytes]] = []
        while True:
            kind = await self._from_client.readexactly(1)
            size = await self._from_client.readexactly(4)
            unit.append((kind, size + await self._from_client.readexactly(struct.unpack("!i", size)[0] - 4)))
            if kind in b"QSXp":
                return unit

    def _without_commit(self, unit: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Up to the last statement before COMMIT, which the server is asked to answer without an end of the burst."""
        ends = [at for at, (kind, body) in enumerate(unit) if kind == b"B" and self._asks_for(body) == "COMMIT"]
        kept = unit[: ends[-1]]
        self._awaited = sum(kind == b"E" for kind, _ in kept)
        return [*kept, (b"H", struct.pack("!i", 4))]

    def _asks_for(self, body: bytes) -> str | None:
        return self._prepared.get(body[4:].split(b"\0", 2)[1].decode())

    def _named(self, unit: list[tuple[bytes, bytes]]) -> str:
        """What the statement is and in which transaction: texts are told apart by their first words and length."""
        said, riding = "", False
        for kind, body in unit:
            if kind == b"P":
                name, text, _ = body[4:].split(b"\0", 2)
                self._prepared[name.decode()] = _words(text)
            if kind not in b"QB":
                continue
            this = _words(body[4:]) if kind == b"Q" else self._asks_for(body) or ""
            if this.startswith("BEGIN"):
                self._first, self._last, self._inside = "", "", True
            riding = bool(said) and this == "COMMIT"
            said = said if riding else this
        if said.startswith(("COMMIT", "ROLLBACK")):
            self._inside = False
            return f"{said[:8]} of [{self._first[:60]}] after [{self._last[:60]}]"
        if said.startswith("BEGIN"):
            return "BEGIN"
        if not self._inside:
            return f"{said} alone"
        self._first = self._first or said
        self._last, self._inside = said, not riding
        return f"{said}{RIDING if riding else ''} in [{self._first[:60]}]"

    async def _backwards(self) -> None:
        reader = self._from_server
        try:
            while (kind := await reader.readexactly(1)) == b"N":  # no encryption: one byte per question
                self._to_client.write(kind)
            while True:
                await self._pass_on(kind)
                kind = await reader.readexactly(1)
        except (ConnectionError, asyncio.IncompleteReadError):
            self._ready.set()
            self._to_client.close()

    async def _pass_on(self, kind: bytes) -> None:
        size = await self._from_server.readexactly(4)
        body = await self._from_server.readexactly(struct.unpack("!i", size)[0] - 4)
        if kind == b"K":
            self._backend = struct.unpack("!i", body[:4])[0]
        if not self._swallow:
            self._to_client.write(kind + size + body)
        self._awaited -= kind == b"C"
        if kind in b"ZE" or (kind == b"C" and self._awaited == 0):
            self._ready.set()


def _words(text: bytes) -> str:
    said = re.sub(r"\s+", " ", text.rstrip(b"\0").decode(errors="replace")).strip()
    return f"{said[:90]} …{len(said)}" if len(said) > 90 else said
