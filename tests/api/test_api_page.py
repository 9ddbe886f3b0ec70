"""docs/api.md is true: its commands are run in their order against the product, and what it prints is what comes back.

``…`` in the page stands for anything. Ids and moments differ from installation to installation: their kind is compared, and an id
that an answer showed is the one meant by the commands after it.
"""

from __future__ import annotations

import io
import json
import re
import shlex
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask

from tests import factories as make
from tests.api.api_client import Answer, ApiClient
from tests.conftest import ROOT
from tests.web.page_client import as_web

PAGE = (ROOT / "docs" / "api.md").read_text()
PASSWORD = "a long and quiet password"
VARIABLES = {"$B": "http://127.0.0.1:8000", "$A": "Authorization: Bearer …", "$J": "Content-Type: application/json"}
#: What differs each time it is asked: only the kind of value is compared.
VARIES = re.compile(r"(^|\.)(id|.+_id|at|.+_at|next_cursor|.+_token|total|done|changed)$|^(waiting|next_events)\.\d+\.(reason|text|frees)$")


#: Nobody takes calls there in this test: what came of one is not compared.
NOT_HERE = {"/test": {"status", "attempts"}}


@dataclass
class Command:
    """One ``$ curl …`` of the page and what it prints under it."""

    words: list[str]
    printed: str
    status: int | None

    @property
    def method(self) -> str:
        return self.words[self.words.index("-X") + 1] if "-X" in self.words else "POST" if self.body or self.form else "GET"

    @property
    def path(self) -> str:
        parts = urlsplit(next(word for word in self.words if word.startswith("http://")))
        return parts.path + (f"?{parts.query}" if parts.query else "")

    @property
    def body(self) -> str:
        return next((after for word, after in zip(self.words, self.words[1:], strict=False) if word == "-d"), "")

    @property
    def headers(self) -> dict[str, str]:
        given = [after.split(": ", 1) for word, after in zip(self.words, self.words[1:], strict=False) if word == "-H"]
        return {name: value for name, value in given if name != "Authorization"}

    @property
    def form(self) -> dict[str, str]:
        return dict(after.split("=", 1) for word, after in zip(self.words, self.words[1:], strict=False) if word == "-F")


def commands() -> list[Command]:
    found = []
    for block in re.findall(r"^```\n(.*?)^```", PAGE, re.M | re.S):
        for piece in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, printed = split_off(piece)
            if command.startswith("curl"):
                status = re.search(r" +\((\d{3})\)\s*$", printed)
                found.append(Command(shlex.split(command), printed[: status.start()] if status else printed, int(status[1]) if status else None))
    return found


def split_off(piece: str) -> tuple[str, str]:
    """The command (as many lines as its quotes and backslashes span) and the lines after it."""
    lines = piece.splitlines()
    for count in range(1, len(lines) + 1):
        command = "\n".join(lines[:count])
        if command.count("'") % 2 == 0 and not command.endswith("\\"):
            for name, value in VARIABLES.items():
                command = command.replace(name, value)
            return command.replace("\\\n", " "), "\n".join(lines[count:])
    raise AssertionError(f"a command without an end: {piece[:80]}")


def files() -> dict[str, str]:
    """What the page's ``printf '…' > file`` write."""
    return {name: text.encode().decode("unicode_escape") for text, name in re.findall(r"^\$ printf '(.*)' > (\S+)$", PAGE, re.M)}


def shown(printed: str) -> Any:
    """The printed JSON; what was left out is left out."""
    return json.loads(re.sub(r",?\s*…(?=\s*[}\]])", "", printed))


def compare(told: Any, real: Any, where: str = "") -> list[str]:
    if isinstance(told, dict):
        if not isinstance(real, dict):
            return [f"{where}: {real!r} is no object"]
        gone = [f"{where}.{name} is not there" for name in told if name not in real]
        return gone + [wrong for name in told if name in real for wrong in compare(told[name], real[name], f"{where}.{name}".lstrip("."))]
    if isinstance(told, list):
        if not isinstance(real, list) or len(real) < len(told):
            return [f"{where}: {real!r} instead of {told!r}"]
        return [wrong for number, one in enumerate(told) for wrong in compare(one, real[number], f"{where}.{number}")]
    if VARIES.search(where):
        return [] if type(told) is type(real) else [f"{where}: {real!r} is no {type(told).__name__}"]
    if isinstance(told, str) and isinstance(real, str) and told.endswith("…"):
        return [] if real.startswith(told[:-1]) else [f"{where}: {real!r} instead of {told!r}"]
    return [] if told == real else [f"{where}: {real!r} instead of {told!r}"]


@dataclass
class Reader:
    """Somebody who types the page's commands; ``ids``: (kind, id on the page) → id here."""

    app: Flask
    api: ApiClient
    ids: dict[tuple[str, int], int] = field(default_factory=dict)

    def type_in(self, command: Command) -> list[str]:
        path = re.sub(r"/(\w+)/(\d+)", lambda found: f"/{found[1]}/{self.here(found[1], int(found[2]))}", command.path)
        if "-sN" in command.words:
            return self.listen(path, command)
        answer = self.send(command, path)
        if answer.status != (command.status or (201 if answer.status == 201 else 200)):
            return [f"{command.method} {path}: {answer.status} {answer.text}"]
        told = shown(command.printed)
        for end, names in NOT_HERE.items():
            told = {name: value for name, value in told.items() if not (path.endswith(end) and name in names)}
        kind = path.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
        for one, real in zip(told.get("items", [told]), answer.json.get("items", [answer.json]), strict=False):
            one, real = one.get("endpoint", one), real.get("endpoint", real)  # what is made with a secret stands one deeper
            if "id" in one:
                self.ids[kind, one["id"]] = real["id"]
        return [f"{command.method} {path}: {wrong}" for wrong in compare(told, answer.json)]

    def here(self, kind: str, number: int) -> int:
        return self.ids.get((kind, number), number)

    def send(self, command: Command, path: str) -> Answer:
        if command.form:
            form: dict[str, Any] = dict(command.form)
            form["file"] = (io.BytesIO(files()[form["file"].lstrip("@")].encode()), form["file"].lstrip("@"))
            return self.api.upload(path, form, headers=command.headers)
        options: dict[str, Any] = {"headers": command.headers}
        if command.body:
            body = json.loads(command.body)
            if body.get("password") == "…":
                body["password"] = PASSWORD
            for name, kind in (("import_id", "imports"), ("campaign_id", "campaigns")):
                if name in body:
                    body[name] = self.here(kind, body[name])
            if "mailbox_ids" in body:
                body["mailbox_ids"] = [self.here("mailboxes", number) for number in body["mailbox_ids"]]
            options["json"] = body
        return self.api.send(command.method, path, **options)

    def listen(self, path: str, command: Command) -> list[str]:
        def first() -> str:
            answer = self.api.client.get(path, headers={"Authorization": f"Bearer {self.api.token}"}, buffered=False)
            try:
                return next(chunk.decode() for chunk in answer.iter_encoded())
            finally:
                answer.close()

        said = as_web(first)
        return [] if command.printed.startswith(said.strip()) else [f"{path}: {said}"]


@pytest.mark.slow
def test_the_commands_of_the_page_work_in_their_order_and_print_what_it_says(app: Flask) -> None:
    client = make.make_client(name="Company", timezone="Asia/Kolkata")
    ann = make.make_user(client, email="ann@company.com", name="ann", password=PASSWORD, timezone="Asia/Kolkata")
    mailbox = make.make_mailbox(client)
    claire = make.make_lead(client, first_name="Claire", last_name="Dumont", email="claire@buyer.test")
    make.make_conversation(client, mailbox, make.make_lead(client), last_message_at=make.MONDAY_TEN - timedelta(days=1))
    talk = make.make_conversation(client, mailbox, claire, subject="Quick question, Claire", display_name="Claire Dumont", unread=1)
    make.make_message(talk, "Tomorrow?", from_name="Claire Dumont", from_address="claire@buyer.test")
    api = ApiClient(app).log_in(ann)
    api.post("/api/suppressions", {"emails": [f"{letter}@example.org" for letter in "abc"]})
    reader = Reader(app, api, {("mailboxes", 1): mailbox.id})
    found = commands()
    assert len(found) > 10, "the page lost its commands"
    wrong = [fault for command in found for fault in reader.type_in(command)]
    assert not wrong, "\n".join(wrong)


def test_the_page_names_every_address_as_the_description_does(app: Flask) -> None:
    from app.blueprints.api.openapi import build

    known = {re.sub(r"\{\w+\}", "{}", f"{method.upper()} {path}") for path, methods in build()["paths"].items() for method in methods}
    named = {re.sub(r"\{\w+\}|(?<=/)\d+(?=/|$)", "{}", name.split("?")[0]) for name in re.findall(r"`((?:GET|POST|PATCH|PUT|DELETE) /[^` ]*)", PAGE)}
    assert named - {"POST {}"} <= known | {"GET /openapi.json", "GET /readyz"}, f"{sorted(named - known)}"
