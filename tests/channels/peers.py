"""Scripted peers and a loop whose clock can be pushed forward: faults are handed in, never slept for."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from app.channels.base import EndPoint, MxHost, PasswordCredential, Permit, Security, SrvHost
from app.channels.wire import Net
from app.core.net import AllowedTargets

T = TypeVar("T")


class WarpLoop(asyncio.SelectorEventLoop):
    """A real loop on real sockets; `advance(seconds)` makes its timers believe that time went by."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset

    def advance(self, seconds: float) -> None:
        self.offset += seconds


def warp_run(story: Callable[[WarpLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a story on a fresh warp loop, at most 20 real seconds."""
    loop = WarpLoop()
    try:
        began = time.monotonic()
        task = loop.create_task(story(loop))
        while not task.done():
            loop.run_until_complete(asyncio.wait([task], timeout=1))
            assert time.monotonic() - began < 20, "story hangs"
        return task.result()
    finally:
        loop.run_until_complete(_settle())
        loop.close()


async def _settle() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for _ in range(5):
        await asyncio.sleep(0)


class TableResolver:
    """Names from a table; everything else is unknown."""

    def __init__(self, hosts: dict[str, Sequence[str]] | None = None) -> None:
        self.hosts = hosts or {}
        self.mx_rows: dict[str, Sequence[MxHost]] = {}
        self.srv_rows: dict[str, Sequence[SrvHost]] = {}
        self.txt_rows: dict[str, Sequence[str]] = {}

    async def addresses(self, host: str) -> Sequence[str]:
        return self.hosts.get(host, ())

    async def mx(self, domain: str) -> Sequence[MxHost]:
        return self.mx_rows.get(domain, ())

    async def srv(self, name: str) -> Sequence[SrvHost]:
        return self.srv_rows.get(name, ())

    async def txt(self, name: str) -> Sequence[str]:
        return self.txt_rows.get(name, ())


def local_net(verify: bool = False, ca_file: str = "") -> Net:
    resolver = TableResolver({"mail.test": ["127.0.0.1"], "localhost": ["127.0.0.1"]})
    return Net(AllowedTargets.parse("127.0.0.0/8"), resolver, verify_trusted=verify, ca_file=ca_file)


def endpoint(port: int, security: Security = Security.NONE, login: bool = True, host: str = "127.0.0.1") -> EndPoint:
    credential = PasswordCredential("s3cret") if login else None
    return EndPoint(host, port, security, "sales@acme.test" if login else "", credential)


def granted(clock: Callable[[], float]) -> Callable[[], Awaitable[Permit]]:
    async def permit() -> Permit:
        return Permit(True, clock())

    return permit


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
