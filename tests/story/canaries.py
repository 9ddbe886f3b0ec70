"""Secrets as canaries: seeded through the product's own doors, looked for in everything a stranger, a log reader or a neighbour could read.

``seed`` makes one of each kind and hands it over as a person does, also at the wrong place; ``pages_and_answers`` reads what the product
shows afterwards; ``logs`` and ``redis_contents`` what it wrote down.
"""

from __future__ import annotations

import base64
import re
import secrets
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from app.domain import one_time_codes
from launch.instance import secret_settings
from tests.story.house import House

MOST_PAGES = 150


def forms(secret: str) -> set[bytes]:
    """A secret as it is, and as it would stand in an address, a JSON text, a dump, or inside base64 at any place."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), raw.hex().encode(), repr(secret)[1:-1].encode(), secret[::-1].encode()}
    for before in range(3):  # the part that is the same whatever stands before and after it
        encoded = base64.b64encode(b"\0" * before + raw + b"\0" * 3)
        found.add(encoded[4 if before else 0 : len(encoded) - 8])
    return {form for form in found if len(form) >= 8}


def hits(kept: dict[str, str], where: str, content: bytes) -> list[str]:
    return [f"{name} in {where}" for name, secret in kept.items() if any(form in content for form in forms(secret))]


class Person:
    """A browser without a screen, with the cookies of one login."""

    def __init__(self, house: House) -> None:
        self.house, self.web = house, requests.Session()

    def get(self, path: str) -> requests.Response:
        return self.web.get(self.house.url + path, timeout=60)

    def post(self, path: str, form: str | None = None, **data: str) -> requests.Response:
        page = self.get(form or path).text
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        return self.web.post(self.house.url + path, data={"csrf_token": token[1] if token else "", **data}, timeout=60, allow_redirects=False)

    def crawl(self) -> Iterator[tuple[str, requests.Response]]:
        """Every page that a link leads to, each once, files and streams too."""
        waiting, known = ["/", "/profile", "/clients", "/no-such-page", "/login"], set()
        while waiting and len(known) < MOST_PAGES:
            path = waiting.pop(0)
            shape = re.sub(r"\d+", "0", urlsplit(path).path)
            if shape in known or "logout" in path or "stream" in path:
                continue
            known.add(shape)
            answer = self.get(path)
            yield path, answer
            waiting += [link.replace("&amp;", "&") for link in re.findall(r'(?:href|src|hx-get|action)="(/[^"#]*)"', answer.text)]


def seed(api: Any, email: str, password: str, mailbox: dict[str, Any]) -> dict[str, str]:
    """What must not be seen again, by name. ``mailbox``: an address that really sends, with its ``smtp_password``."""
    house: House = api.house
    kept = {"the password of a login": password, "the password of a mailbox": mailbox["smtp_password"], "an access token": api.token}
    kept |= {f"the installation's {name}": value for name, value in secret_settings(house.data).items()}
    kept["Redis' password"] = (house.data / "redis" / "password").read_text().strip()
    again = api.post("/api/auth/login", {"email": email, "password": password})
    kept |= {"a second access token": again["access_token"], "a used refresh token": again["refresh_token"]}
    kept["a refresh token"] = api.post("/api/auth/refresh", {"refresh_token": again["refresh_token"]})["refresh_token"]
    api.post("/api/auth/refresh", {"refresh_token": again["refresh_token"]}, 401)
    key = api.post("/api/keys", {"client_id": api.client_id, "name": "A program", "scope": "read"}, 201)
    kept["an API key"] = key["secret"]
    assert requests.get(f"{house.url}/api/me", headers={"Authorization": f"Bearer {key['secret']}"}, timeout=60).status_code == 200
    kept |= _webhook(api)
    kept |= _shown_once(api, password)
    kept |= _mistakes(api, email, mailbox)
    return kept


def _webhook(api: Any) -> dict[str, str]:
    """A source whose secret was made by us and one whose secret was given; both asked rightly and wrongly."""
    chosen = f"canary-{secrets.token_urlsafe(24)}"
    given = api.post("/api/admin/webhooks", {"name": "Given", "verifier": "static_header", "header": "X-Secret", "secret": chosen}, 201)
    made = api.post("/api/admin/webhooks", {"name": "Made", "verifier": "static_header", "header": "X-Secret"}, 201)
    for source, secret in ((given, chosen), (given, chosen + "x"), (made, chosen)):
        path = "/" + source["address"].split("/", 3)[-1] if "://" in source["address"] else source["address"]
        requests.post(api.house.url + path, headers={"X-Secret": secret}, json={"hello": "there"}, timeout=60)
    return {"the secret of a webhook": chosen, "the made secret of a webhook": made["secret"]}


def _shown_once(api: Any, password: str) -> dict[str, str]:
    """What is shown to whoever made it and never again: a second factor with its codes, an invitation, the secret of an endpoint of ours."""
    begun = api.post("/api/me/second-factor", {"password": password}, 201)
    code = one_time_codes.code_of(begun["secret"], one_time_codes.step_of(datetime.now(UTC)))
    codes = api.post("/api/me/second-factor/confirm", {"otp": code})["recovery_codes"]
    api.call("POST", "/api/me/second-factor/remove", 204, json={"otp": codes[0]})
    invited = api.post("/api/members", {"client_id": api.client_id, "email": "new@agency.test", "name": "New", "role": "agent"}, 201)
    endpoint = api.post("/api/webhook-endpoints", {"client_id": api.client_id, "url": "https://127.0.0.1:9/hook", "description": "Ours"}, 201)
    return {
        "the secret of a second factor": begun["secret"], "a used recovery code": codes[0], "an unused recovery code": codes[1],
        "an invitation": invited["link"].rsplit("/", 1)[1], "the secret of an endpoint of ours": endpoint["secret"],
    }  # fmt: skip


def _mistakes(api: Any, email: str, mailbox: dict[str, Any]) -> dict[str, str]:
    """What people type at the wrong place and what programs send broken: refused, and not written down."""
    typed, long, broken = (f"canary-{secrets.token_urlsafe(24)}" for _ in range(3))
    person = Person(api.house)
    person.post("/login", email=email, password=typed)
    person.post("/login", email="nobody@agency.test", password=typed)
    api.post("/api/auth/login", {"email": email, "password": typed}, 401)
    api.post("/api/auth/login", {"email": email, "password": long * 200}, 422)
    call = {"timeout": 60, "headers": {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json"}}
    for method, path, data in (
        ("POST", "/api/auth/login", f'{{"email": "x", "password": "{broken}"'), ("POST", "/api/mailboxes", f'{{"smtp_password": ["{broken}"]}}'),
        ("POST", "/api/mailboxes", f'{{"email": "no address", "smtp_password": "{broken}", "smtp_port": "{{"}}'), ("PUT", "/api/me", broken),
    ):  # fmt: skip
        assert 400 <= requests.request(method, api.house.url + path, data=data, **call).status_code < 500  # type: ignore[arg-type]
    requests.get(f"{api.house.url}/api/me", headers={"Authorization": f"Bearer {broken}", "Cookie": f"session={broken}"}, timeout=60)
    wrong = api.post("/api/mailboxes", {**mailbox, "email": "wrong@agency.test", "smtp_password": typed, "imap_password": typed}, 201)
    api.post(f"/api/mailboxes/{wrong['id']}/verify")
    return {"a mistyped password": typed, "a password that is too long": long, "a secret in a broken body": broken}


def pages_and_answers(api: Any, email: str, password: str, kept: dict[str, str]) -> tuple[list[str], int]:
    """(hits, how many answers were read): every page by its links, every list of the API; the login's own cookie is one more canary."""
    person = Person(api.house)
    assert person.post("/login", email=email, password=password).status_code == 303
    cookie = next(one for one in person.web.cookies if one.name.endswith("session"))
    kept["the cookie of a session"] = str(cookie.value)
    found, read = [], 0
    for path, answer in person.crawl():
        assert answer.status_code < 500, path
        found, read = found + hits(kept, path, answer.content + str(answer.headers).encode()), read + 1
    described = requests.get(api.house.url + "/openapi.json", timeout=60).json()["paths"]
    for path, operations in described.items():
        if "get" in operations and "{" not in path and "stream" not in path:
            answer = requests.get(
                api.house.url + path, params={"client_id": api.client_id}, headers={"Authorization": f"Bearer {api.token}"}, timeout=60
            )
            found, read = found + hits(kept, path, answer.content + str(answer.headers).encode()), read + 1
    return found, read


def logs(house: House) -> Iterator[tuple[str, bytes]]:
    for path in sorted((house.data / "logs").iterdir()):
        yield f"logs/{path.name}", path.read_bytes()
    yield "what bin/run printed", "\n".join(house.lines).encode()


def redis_contents(house: House) -> Iterator[tuple[str, bytes]]:
    """Every key with its whole value, of whatever type; jobs are packed, so unpacked as well."""
    import redis

    conf = (house.data / "redis" / "redis.conf").read_text()
    port, password = re.search(r"^port (\d+)", conf, re.M), re.search(r"^requirepass (\S+)", conf, re.M)
    assert port is not None and password is not None
    with redis.Redis(port=int(port[1]), password=password[1]) as server:
        for key in server.scan_iter(count=1000):
            read: dict[bytes, Any] = {
                b"string": server.get, b"hash": server.hgetall, b"list": lambda name: server.lrange(name, 0, -1), b"set": server.smembers,
                b"zset": lambda name: server.zrange(name, 0, -1, withscores=True), b"stream": lambda name: server.xrange(name),
            }  # fmt: skip
            kind = server.type(key)
            value = read[kind](key) if kind in read else None
            yield f"Redis {key!r}", key + b" " + b" ".join(_flat(value))


def _flat(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
        try:
            yield zlib.decompress(value)
        except zlib.error:
            pass
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from (*_flat(key), *_flat(one))
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _flat(one)
