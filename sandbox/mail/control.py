"""The control port: JSON over HTTP on 127.0.0.1, for tests and for whoever drives the rehearsal.

GET  /health                                     ports and counts
GET  /accepted?since=N&message_id=&to=&mail_from=&port=
GET  /counts                                     Message-ID to how often it was taken
GET  /hits                                       how often each fault struck
GET  /messages?address=&folder=INBOX             uid, flags, Message-ID, subject, from of a folder
GET  /raw?address=&folder=INBOX&uid=             one message, base64
POST /accounts     fields of Account             add or change a mailbox
POST /deliver      {address, raw (base64), folder, flags}
POST /faults       {point, death, times, sender, recipient}
POST /scripts      fields of ScriptedReply
POST /rates        fields of Rates
POST /imap-faults  {fault, address, times}
POST /imap-actions {action: expunge|renumber|bye, address, folder, uids, first_uid}
POST /heal         no faults any more
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sandbox.mail.faults import Fault, ImapFault, ImapRule, Phase, Point, Rates, ScriptedReply
from sandbox.mail.server import LOCALHOST, MailServer
from sandbox.mail.store import Account, NoSuchFolder
from sandbox.mail.wire import Channel, Death, LineTooLong, PeerGone

Route = Callable[[dict[str, Any]], Any | Awaitable[Any]]
MAX_BODY = 80_000_000


class ControlPort:
    """Routes over one mail server; a world adds its own with `route`."""

    def __init__(self, mail: MailServer) -> None:
        self._mail = mail
        self._listener: asyncio.Server | None = None
        self._routes: dict[tuple[str, str], Route] = {
            ("GET", "/health"): self._health,
            ("GET", "/accepted"): self._accepted,
            ("GET", "/counts"): lambda asked: dict(mail.ledger.counts_by_message_id()),
            ("GET", "/hits"): lambda asked: dict(mail.faults.hits),
            ("GET", "/messages"): self._messages,
            ("GET", "/raw"): self._raw,
            ("POST", "/accounts"): self._add_account,
            ("POST", "/deliver"): self._deliver,
            ("POST", "/faults"): self._add_fault,
            ("POST", "/scripts"): self._add_script,
            ("POST", "/rates"): self._set_rates,
            ("POST", "/imap-faults"): self._add_imap_fault,
            ("POST", "/imap-actions"): self._imap_action,
            ("POST", "/heal"): self._heal,
        }

    def route(self, method: str, path: str, answer: Route) -> None:
        self._routes[method, path] = answer

    async def start(self, port: int) -> None:
        self._listener = await asyncio.start_server(self._serve, LOCALHOST, port)
        self._mail.ports.control = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(reader, writer)
        try:
            method, target, asked = await _request(channel)
            status, answer = await self._answer(method, target, asked)
            body = json.dumps(answer, default=str).encode()
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            await channel.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        except (PeerGone, LineTooLong, ValueError):
            pass
        finally:
            channel.close()

    async def _answer(self, method: str, target: str, asked: dict[str, Any]) -> tuple[str, Any]:
        address = urlsplit(target)
        route = self._routes.get((method, address.path))
        if route is None:
            return "404 Not Found", {"message": f"no route {method} {address.path}"}
        try:
            answer = route({**dict(parse_qsl(address.query)), **asked})
            return "200 OK", await answer if inspect.isawaitable(answer) else answer
        except (KeyError, ValueError, TypeError, NoSuchFolder) as wrong:
            return "422 Unprocessable Content", {"message": f"{type(wrong).__name__}: {wrong}"}

    # answers

    def _health(self, _asked: dict[str, Any]) -> dict[str, Any]:
        mail = self._mail
        ports = {name: getattr(mail.ports, name) for name in ("smtp", "mx", "imap", "smtps", "imaps", "control")}
        return {"ports": ports, "accounts": len(mail.store.accounts), "accepted": len(mail.ledger.accepted)}

    def _accepted(self, asked: dict[str, Any]) -> dict[str, Any]:
        wanted = {name: asked[name] for name in ("message_id", "mail_from", "to", "port") if name in asked}
        return {"accepted": self._mail.ledger.matching(int(asked.get("since", 0)), **wanted)}

    def _messages(self, asked: dict[str, Any]) -> dict[str, Any]:
        account = self._mail.store.accounts[asked["address"].lower()]
        folder = self._mail.store.folder(account, asked.get("folder", "INBOX"))
        items = [
            {
                "uid": message.uid,
                "flags": sorted(message.flags),
                "message_id": str(message.parsed.get("Message-ID", "")),
                "subject": str(message.parsed.get("Subject", "")),
                "from": str(message.parsed.get("From", "")),
                "at": message.internal_date.isoformat(),
            }
            for message in folder.messages.values()
        ]
        return {"uid_validity": folder.uid_validity, "messages": items}

    def _raw(self, asked: dict[str, Any]) -> dict[str, str]:
        account = self._mail.store.accounts[asked["address"].lower()]
        folder = self._mail.store.folder(account, asked.get("folder", "INBOX"))
        return {"raw": base64.b64encode(folder.messages[int(asked["uid"])].raw).decode()}

    # changes

    def _add_account(self, asked: dict[str, Any]) -> dict[str, str]:
        return {"address": self._mail.store.add_account(Account(**asked)).address}

    def _deliver(self, asked: dict[str, Any]) -> dict[str, int]:
        store = self._mail.store
        account = store.accounts[asked["address"].lower()]
        raw, name = base64.b64decode(asked["raw"]), asked.get("folder", "INBOX")
        folder = store.folder(account, name)
        return {"uid": store.append(account, folder, raw, asked.get("flags", ())).uid}

    def _add_fault(self, asked: dict[str, Any]) -> dict[str, str]:
        death = Death(asked.pop("death", "close"))
        self._mail.faults.add(Fault(point=Point(asked.pop("point")), death=death, **asked))
        return {"state": "set"}

    def _add_script(self, asked: dict[str, Any]) -> dict[str, str]:
        self._mail.faults.script(ScriptedReply(phase=Phase(asked.pop("phase")), **asked))
        return {"state": "set"}

    def _set_rates(self, asked: dict[str, Any]) -> dict[str, str]:
        self._mail.faults.set_rates(Rates(**asked))
        return {"state": "set"}

    def _add_imap_fault(self, asked: dict[str, Any]) -> dict[str, str]:
        self._mail.faults.add_imap(ImapRule(fault=ImapFault(asked.pop("fault")), **asked))
        return {"state": "set"}

    async def _imap_action(self, asked: dict[str, Any]) -> dict[str, Any]:
        store, action = self._mail.store, asked["action"]
        if action == "bye":
            return {"ended": await self._mail.end_imap_sessions(asked.get("address"))}
        account = store.accounts[asked["address"].lower()]
        folder = store.folder(account, asked.get("folder", "INBOX"))
        if action == "expunge":
            return {"gone": store.expunge(account, folder, asked["uids"])}
        if action == "renumber":
            store.renumber(account, folder, int(asked.get("first_uid", 1)))
            return {"uid_validity": folder.uid_validity}
        raise ValueError(f"unknown action {action}")

    def _heal(self, _asked: dict[str, Any]) -> dict[str, str]:
        self._mail.faults.clear()
        return {"state": "healed"}


async def _request(channel: Channel) -> tuple[str, str, dict[str, Any]]:
    """Method, target and JSON body of one HTTP request. Raises ValueError for what is not HTTP."""
    method, target, _ = (await channel.line()).decode("latin-1").split(" ", 2)
    length = 0
    while line := (await channel.line()).decode("latin-1"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-length":
            length = min(int(value), MAX_BODY)
    asked = json.loads(await channel.exactly(length)) if length else {}
    if not isinstance(asked, dict):
        raise ValueError("the body must be a JSON object")
    return method, target, asked
