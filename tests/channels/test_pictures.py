"""Pictures of other servers: fetched from where we may connect, small, quick, and only when their bytes are pictures."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.channels.pictures import Picture, PictureFetcher, PictureRefused, kind_of
from app.channels.wire import Net
from app.core.net import AllowedTargets
from tests.channels import tls
from tests.channels.peers import TableResolver
from tests.channels.test_net import NAMES, SPELLINGS

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 60
GIF = b"GIF89a" + b"\x00" * 40
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A picture server of the test: answers what the story hands it and remembers what was asked."""

    def __init__(self, answers: dict[str, bytes | Handler]) -> None:
        self.answers = answers
        self.asked: list[bytes] = []
        self.port = 0
        self.sent = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(request)
        answer = self.answers.get(request.split(b" ")[1].decode(), b"HTTP/1.1 404 Not found\r\n\r\n")
        try:
            if callable(answer):
                await answer(request, writer)
            else:
                writer.write(answer.replace(b"PORT", str(self.port).encode()))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def story(
    answers: dict[str, bytes | Handler],
    urls: list[str],
    *,
    allow: str = "127.0.0.1",
    context: ssl.SSLContext | None = None,
    ca_file: str = "",
    **limits: Any,
) -> tuple[list[Picture | str], Server]:
    """Fetch the addresses (PORT is the server's) one after the other: pictures, or the reasons why not."""
    server = Server(answers)
    resolver = TableResolver({"pics.test": ["127.0.0.1"], **NAMES})

    async def run() -> list[Picture | str]:
        listener = await asyncio.start_server(server._serve, "127.0.0.1", 0, ssl=context)
        server.port = listener.sockets[0].getsockname()[1]
        allowed = AllowedTargets.parse(allow.replace("PORT", str(server.port)))
        fetcher = PictureFetcher(Net(allowed, resolver, verify_trusted=bool(ca_file), ca_file=ca_file), **limits)
        found: list[Picture | str] = []
        for url in urls:
            try:
                found.append(await fetcher.fetch(url.replace("PORT", str(server.port))))
            except PictureRefused as refused:
                found.append(refused.reason)
        listener.close()
        return found

    return asyncio.run(run()), server


def with_length(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*pieces: bytes) -> bytes:
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def test_a_picture_comes_however_it_is_framed_and_is_named_by_its_bytes() -> None:
    answers: dict[str, bytes | Handler] = {
        "/counted.png": with_length(PNG), "/chunked?a=1&b=%20": chunked(PNG[:9], PNG[9:30], PNG[30:]), "/closed": HEAD + b"\r\n" + GIF,
        "/interim": b"HTTP/1.1 100 Continue\r\n\r\n" + with_length(PNG), "/%C3%A9%20t.png": with_length(PNG),
    }  # fmt: skip
    paths = ["counted.png", "chunked?a=1&b=%20", "closed", "interim", "é t.png"]
    found, server = story(answers, [f"http://pics.test:PORT/{path}" for path in paths])
    assert [one.content_type for one in found if isinstance(one, Picture)] == ["image/png", "image/png", "image/gif", "image/png", "image/png"]
    assert [one.content for one in found if isinstance(one, Picture)] == [PNG, PNG, GIF, PNG, PNG]
    for request in server.asked:
        names = {line.split(b":")[0].lower() for line in request.split(b"\r\n")[1:] if line}
        assert names == {b"host", b"accept", b"accept-encoding", b"user-agent", b"connection"}, "nothing about the reader"


def test_tls_is_spoken_to_the_vetted_address_with_the_name_of_the_mail() -> None:
    pem = tls.certificate("pics.test")
    answers: dict[str, bytes | Handler] = {"/a": with_length(PNG)}
    found, _ = story(answers, ["https://pics.test:PORT/a"], context=tls.server_context("pics.test"), ca_file=str(pem.parent / "ca.pem"))
    assert isinstance(found[0], Picture)
    found, server = story(answers, ["https://pics.test:PORT/a"], context=tls.server_context("other.test"), ca_file=str(pem.parent / "ca.pem"))
    assert found == ["unreachable"] and not server.asked, "a certificate of another name is refused before anything is asked"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_spelling_of_an_inner_address_is_connected_to(scheme: str) -> None:
    urls = [f"{scheme}://{host}:PORT/x" for host in SPELLINGS] + [f"{scheme}://{host}/x" for host in SPELLINGS]
    found, server = story({"/x": with_length(PNG)}, urls, allow="192.0.2.77")
    assert set(found) <= {"not_allowed", "bad_address", "unreachable"} and not server.asked
    odd = ["ftp://pics.test/x", "file:///etc/passwd", "//pics.test/x", "/x", "", "http://", "http://a@pics.test/", "data:image/png;base64,AA", "http://[::1/x"]
    assert set(story({}, odd)[0]) == {"bad_address"}


def test_plain_http_goes_only_where_an_operator_said_so() -> None:
    found, server = story({"/x": with_length(PNG)}, ["http://pics.test:PORT/x", "https://public.test:PORT/x"], allow="127.0.0.1:9")
    assert found == ["not_allowed", "not_allowed"] and not server.asked


def test_redirects_are_followed_three_times_and_each_is_vetted() -> None:
    def to(where: str) -> bytes:
        return f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nSet-Cookie: who=you\r\nContent-Length: 0\r\n\r\n".encode()

    answers: dict[str, bytes | Handler] = {
        "/1": to("/2"), "/2": to("http://pics.test:PORT/3"), "/3": to("4"), "/4": with_length(PNG), "/0": to("1"), "/loop": to("/loop"),
        "/metadata": to("http://169.254.169.254/latest/meta-data/"), "/inside": to("http://10.0.0.5/x"), "/name": to("http://private.evil.test/x"),
        "/other": to("http://127.0.0.2:PORT/4"), "/mapped": to("http://[::ffff:10.0.0.5]/x"), "/file": to("file:///etc/passwd"), "/user": to("http://a:b@pics.test:PORT/4"),
        "/lines": to("http://pics.test:PORT/%0d%0aX: y"), "/gopher": to("gopher://pics.test:PORT/4"), "/rebound": to("http://mixed.evil.test/x"),
    }  # fmt: skip
    names = ["1", "0", "loop", "metadata", "inside", "name", "other", "mapped", "file", "user", "gopher", "rebound"]
    found, server = story(answers, [f"http://pics.test:PORT/{name}" for name in names], allow="127.0.0.1:PORT")
    assert isinstance(found[0], Picture)
    assert found[1:] == ["bad_answer", "bad_answer", *["not_allowed"] * 5, "bad_address", "bad_address", "bad_address", "not_allowed"]
    assert all(b"ookie" not in request for request in server.asked)


def test_what_is_no_picture_by_its_bytes_is_none_whatever_it_is_called() -> None:
    svg, html = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<!doctype html><script>alert(1)</script>"
    bodies = [svg, html, b"", b"\x89PN", b"%PDF-1.7 ............", b"BM" + b"\x00" * 60, b"\x1f\x8b" + b"\x00" * 60, b"RIFF....WAVEfmt ", b" " + PNG]
    answers: dict[str, bytes | Handler] = {f"/{number}": with_length(body) for number, body in enumerate(bodies)}
    found, _ = story(answers, [f"http://pics.test:PORT/{number}" for number in range(len(bodies))])
    assert set(found) == {"not_a_picture"}
    assert [kind_of(start) for start in (PNG, GIF, b"\xff\xd8\xff\xe0", b"RIFF\x00\x00\x00\x00WEBPVP8 ", svg)] == [
        "image/png", "image/gif", "image/jpeg", "image/webp", None,
    ]  # fmt: skip


def test_broken_answers_are_refused_in_words_of_ours() -> None:
    odd = [
        b"", b"\r\n\r\n", b"220 mail.test ESMTP\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/2 200\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n" + PNG, HEAD + b"Content-Length: ten\r\n\r\n" + PNG, HEAD + b"Content-Length: 999\r\n\r\n" + PNG,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + PNG, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + PNG,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\n" + PNG, HEAD + b"x" * 70_000, HEAD + b"a: b\r\n" * 9_000 + b"\r\n" + PNG, b"A" * 200_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + with_length(PNG), HEAD + b"no colon\r\n\r\n" + PNG,
    ]  # fmt: skip
    answers: dict[str, bytes | Handler] = {f"/{number}": body for number, body in enumerate(odd)}
    found, _ = story(answers, [f"http://pics.test:PORT/{number}" for number in range(len(odd))])
    assert set(found) == {"bad_answer"}, found


def test_a_giant_is_cut_off_and_a_slow_server_is_left() -> None:
    sent = {"endless": 0}

    async def endless(request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"\r\n" + PNG)
        while True:
            writer.write(b"\x00" * 65_536)
            sent["endless"] += 65_536
            await writer.drain()

    async def drop_by_drop(request: bytes, writer: asyncio.StreamWriter) -> None:
        for byte in with_length(PNG):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    answers: dict[str, bytes | Handler] = {
        "/endless": endless, "/announced": HEAD + b"Content-Length: 999999999\r\n\r\n" + PNG, "/exact": with_length(PNG.ljust(200_000, b"\x00")),
        "/chunks": chunked(PNG, *[b"\x00" * 60_000] * 9), "/over": with_length(PNG.ljust(200_001, b"\x00")), "/slow": drop_by_drop,
    }  # fmt: skip
    began = time.monotonic()
    names = ["endless", "announced", "chunks", "over", "slow", "exact"]
    found, _ = story(answers, [f"http://pics.test:PORT/{name}" for name in names], max_bytes=200_000, seconds=0.6)
    assert found[:5] == ["too_large", "too_large", "too_large", "too_large", "timeout"]
    assert isinstance(found[5], Picture) and len(found[5].content) == 200_000
    assert sent["endless"] < 20_000_000 and time.monotonic() - began < 10
