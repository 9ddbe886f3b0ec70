"""Posting events: to vetted addresses only, once, in bounded time; of the answer only a status and a length."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.channels.hooks import COUNTED_BYTES, Answered, Poster, PostFailed
from app.channels.wire import Net
from app.core.net import AllowedTargets
from tests.channels import tls
from tests.channels.peers import TableResolver
from tests.channels.test_net import NAMES, SPELLINGS

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Records every connection, also one that never says a word."""

    def __init__(self, answers: dict[str, bytes | Handler]) -> None:
        self.answers = answers
        self.connections = 0
        self.asked: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.asked.append(head + await reader.readexactly(length))
            answer = self.answers.get(head.split(b" ")[1].decode(), OK)
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer.replace(b"PORT", str(self.port).encode()))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def story(
    urls: list[str],
    answers: dict[str, bytes | Handler] | None = None,
    *,
    allow: str = "127.0.0.1",
    only: bool = False,
    context: ssl.SSLContext | None = None,
    ca_file: str = "",
    **limits: Any,
) -> tuple[list[Answered | str], Listener]:
    """Post to each address (PORT is the listener's): what was answered, or why not."""
    listener = Listener(answers or {})
    resolver = TableResolver({"hooks.test": ["127.0.0.1"], **NAMES})

    async def run() -> list[Answered | str]:
        server = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=context)
        listener.port = server.sockets[0].getsockname()[1]
        allowed = AllowedTargets.parse(allow.replace("PORT", str(listener.port)), only=only, own=frozenset({"93.184.216.99"}))
        poster = Poster(Net(allowed, resolver, verify_trusted=bool(ca_file), ca_file=ca_file), **limits)
        found: list[Answered | str] = []
        for url in urls:
            try:
                found.append(await poster.post(url.replace("PORT", str(listener.port)), {"webhook-id": "evt_1"}, b'{"a":1}'))
            except PostFailed as failed:
                found.append(failed.reason)
        server.close()
        return found

    return asyncio.run(run()), listener


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_of_all_spellings_of_an_inner_address_none_leads_to_a_connection(scheme: str) -> None:
    # (port 443, so that the address alone is judged)
    urls = [f"{scheme}://{host}{port}/x" for host in SPELLINGS for port in (":PORT", ":443")]
    found, listener = story(urls, allow="192.0.2.77")
    assert len(SPELLINGS) >= 120 and set(found) <= {"not_allowed", "bad_address", "unreachable"}
    assert listener.connections == 0


def test_a_rehearsal_posts_to_its_own_ports_and_nowhere_else() -> None:
    urls = ["http://hooks.test:PORT/", "http://hooks.test:9/", "https://public.test/", "https://93.184.216.34/"]
    found, listener = story(urls, allow="127.0.0.1:PORT", only=True)
    assert found == [Answered(200, 2), "not_allowed", "not_allowed", "not_allowed"] and listener.connections == 1


def test_what_goes_out_is_one_plain_request_that_carries_nothing_of_ours() -> None:
    found, listener = story(["http://hooks.test:PORT/a%20b?c=d é"])
    assert found == [Answered(200, 2)]
    head, _, body = listener.asked[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /a%20b?c=d%20%C3%A9 HTTP/1.1" and body == b'{"a":1}'
    names = {line.split(":")[0].lower() for line in lines[1:]}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "connection", "webhook-id"}
    assert f"Host: hooks.test:{listener.port}" in lines


def test_plain_http_goes_only_to_what_an_operator_named_and_a_redirect_goes_nowhere() -> None:
    to = b"HTTP/1.1 307 Go\r\nLocation: http://hooks.test:PORT/else\r\nContent-Length: 0\r\n\r\n"
    found, listener = story(["http://hooks.test:PORT/", "http://public.test/", "http://public.test:8080/"], {"/": to})
    assert found == [Answered(307, 0), "not_allowed", "not_allowed"] and len(listener.asked) == 1


def test_the_certificate_must_be_of_the_name_in_the_address() -> None:
    pem = tls.certificate("hooks.test")
    ca = str(pem.parent / "ca.pem")
    found, _ = story(["https://hooks.test:PORT/"], context=tls.server_context("hooks.test"), ca_file=ca)
    assert found == [Answered(200, 2)]
    found, listener = story(["https://hooks.test:PORT/"], context=tls.server_context("other.test"), ca_file=ca)
    assert found == ["tls"] and not listener.asked, "nothing is told to a server that cannot prove its name"


def test_answers_are_read_in_bounded_time_and_size_and_the_status_stands() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async def silent(_writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def drip(writer: asyncio.StreamWriter) -> None:
        for letter in b"HTTP/1.1 200 OK\r\n" * 20:
            writer.write(bytes([letter]))
            await asyncio.sleep(0.05)

    answers: dict[str, bytes | Handler] = {
        "/endless": endless, "/silent": silent, "/drip": drip, "/huge": b"HTTP/1.1 204 No\r\nContent-Length: 999999999\r\n\r\n",
        "/smtp": b"220 mail.test ESMTP\r\n", "/gone": b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", "/nothing": b"",
        "/wait": b"HTTP/1.1 429 Slow\r\nRetry-After: 90\r\nContent-Length: 0\r\n\r\n", "/odd": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "/head": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
    }  # fmt: skip
    began = time.monotonic()
    found, _ = story([f"http://hooks.test:PORT{path}" for path in answers], answers, seconds=0.5)
    assert found == [
        Answered(200, COUNTED_BYTES), "timeout", "timeout", Answered(204, COUNTED_BYTES), "bad_answer", Answered(410, 0), "bad_answer",
        Answered(429, 0, 90), Answered(200, 0), "bad_answer",
    ]  # fmt: skip
    assert time.monotonic() - began < 30
