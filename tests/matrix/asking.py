"""Asks one case in everybody's name and says what is wrong: the status is not what the declaration and the table of permissions say, a
stranger's word stands in an answer, a row changed that was not the caller's, a foreign id is not answered like one that never was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flask import Flask
from werkzeug.routing import MapAdapter

from app.domain.permissions import Permission
from tests.matrix.callers import Caller
from tests.matrix.filling import Id, Text
from tests.matrix.logins import Logins
from tests.matrix.room import Room
from tests.matrix.routes import Case, Param
from tests.matrix.wire import asked, question
from tests.matrix.world import NOWHERE, World

OWN, FOREIGN, DELETED, RANDOM = "own", "foreign", "deleted", "random"
WORLD_OF = {OWN: "ours", FOREIGN: "theirs", DELETED: "gone", RANDOM: "nowhere"}
Kinds = dict[Param, str]
AS_A_PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
#: What differs between two answers to the same question: ids given during the run (tests/matrix/house.py), moments of now, seconds that run down.
PASSING = re.compile(r'\b45\d{6}\b|data-countdown="\d+">[^<]*|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z')


@dataclass(frozen=True)
class Said:
    """One answer. ``ids``: what this request alone named."""

    status: int
    text: str
    headers: str
    location: str
    wrote: bool
    changed: tuple[str, ...]
    ids: tuple[str, ...]

    @cached_property
    def folded(self) -> str:
        return (self.text + self.headers).lower()

    @cached_property
    def plain(self) -> tuple[int, str]:
        """Status and body without what only this request could show."""
        text = PASSING.sub("#", self.text)
        for number in self.ids:
            text = text.replace(number, "#")
        return self.status, text

    def same_as(self, other: Said) -> bool:
        return (self.status, self.text) == (other.status, other.text) or self.plain == other.plain


@dataclass
class Matrix:
    app: Flask
    room: Room
    worlds: dict[str, World]  # ours, theirs, gone
    callers: dict[str, Caller]
    logins: Logins
    asked: int = 0

    @cached_property
    def client(self) -> Any:
        return self.room.app.test_client(use_cookies=False)

    @cached_property
    def addresses(self) -> MapAdapter:
        return self.room.app.url_map.bind("localhost")

    # Filling in

    def id_of(self, param: Param, kind: str, caller: Caller) -> int | str:
        """The id of the row, or the address of the client, that ``kind`` means."""
        world = WORLD_OF[kind]
        if param.name == "slug":
            return {"ours": "our-house", "theirs": "their-house", "gone": "gone-house", "nowhere": "no-such-house"}[world]
        if param.row == "session_id":
            other = self.callers["admin" if caller.name != "admin" else "agent"]
            return {OWN: caller.session_id or other.session_id, FOREIGN: other.session_id}.get(kind, NOWHERE)
        if world == "nowhere":
            return NOWHERE
        return self.worlds[world].ids[param.row]

    def _resolve(self, values: Any, place: str, ids: dict[tuple[str, str], Any], world: World, name: str = "") -> Any:
        if isinstance(values, Id):
            return ids[place, name]
        if isinstance(values, Text):
            return values.of(world)
        if isinstance(values, dict):
            return {key: self._resolve(inner, place, ids, world, f"{name}.{key}" if name else key) for key, inner in values.items()}
        if isinstance(values, list):
            return [self._resolve(inner, place, ids, world, name) for inner in values]
        return values

    def ask(self, case: Case, caller: Caller, kinds: Kinds, part: bool = False) -> Said:
        """``part``: as htmx asks for a fragment of a page."""
        chosen = {param: self.id_of(param, kinds.get(param, OWN), caller) for param in case.params}
        ids = {(param.place, param.name): value for param, value in chosen.items()}
        world = self.worlds[next(iter(caller.roles), "ours")]
        path = {param.name: value for param, value in chosen.items() if param.place == "path"}
        path |= {**case.word, **{name: self._resolve(value, "path", ids, self.worlds["ours"]) for name, value in case.fill.path.items()}}
        form = self._resolve(case.form, "form", ids, world) if case.json is None else None
        multipart = case.fill.files or (case.operation and case.operation.multipart)
        what = question(
            case.method, self.addresses.build(case.rule.endpoint, path, method=case.method), self._resolve(case.query, "query", ids, world),
            caller.headers.get(case.realm, {}) | (AS_A_PART if part else {}), json_body=self._resolve(case.json, "json", ids, world), form=form,
            files=case.fill.files if multipart else None,
        )  # fmt: skip
        self.asked += 1
        (status, text, headers), wrote, changed = self.room.within(lambda: asked(self.room.app, what))
        named = tuple(str(value) for value in chosen.values())
        return Said(status, text, str(headers), headers.get("Location", ""), wrote, tuple(changed), named)

    # What is declared

    def at_home(self, caller: Caller) -> str:
        """The kind that means the caller's own client."""
        return FOREIGN if "theirs" in caller.roles else OWN

    def declared(self, case: Case, caller: Caller, kinds: Kinds) -> set[int] | None:
        """The statuses of a refusal at the door; None: let in, to do it as far as the ids of the body allow."""
        access = case.access
        if access.kind in {"public", "unguarded"}:
            return None
        if not caller.enters(case.realm):
            return {401} if case.realm == "api" else {303} if case.changes else {302}
        path = {param: WORLD_OF[kinds.get(param, OWN)] for param in case.params if param.place == "path" and param.name != case.chooses_client}
        if access.kind == "signed_in" and caller.by_key and case.fill.by_key:
            return set(case.fill.by_key)
        if access.kind == "signed_in":
            return {404} if any(kinds.get(param, OWN) != OWN for param in path) else None
        permission = access.permission
        assert permission is not None
        if not case.chooses_client:
            if not caller.may(permission, "nowhere"):
                return {404}
            return {404} if any(world in {"gone", "nowhere"} for world in path.values()) else None
        return self._in_client(case, caller, kinds, path, permission)

    def _in_client(self, case: Case, caller: Caller, kinds: Kinds, path: dict[Param, str], permission: Permission) -> set[int] | None:
        chooser = next(param for param in case.params if param.name == case.chooses_client)
        world = WORLD_OF[kinds.get(chooser, OWN)]
        if not caller.seated(world):
            return {404}
        if not caller.may(permission, world):
            return {403}
        if any(other != world for other in path.values()):
            return {404}
        also = case.fill.also
        return {403} if also and not caller.may(Permission(also), world) else None

    # Looking

    def look(self, case: Case, caller: Caller) -> Iterator[str]:
        """Everything that is wrong when this caller asks this case, in sentences."""
        self.logins.forget()
        home: Kinds = dict.fromkeys(case.params, self.at_home(caller))
        whole = self.ask(case, caller, home)
        yield from self._judge(case, caller, home, whole, at_home=True)
        yield from self._strange(case, caller, home)
        if case.realm == "page" and self.declared(case, caller, home) is None:
            part = self.ask(case, caller, home, part=True)
            yield from self._judge(case, caller, home, part, at_home=True)
            if part.text and not part.same_as(whole):  # a view that does not look whether htmx asks has been asked everything
                yield from self._strange(case, caller, home, part=True)

    def _strange(self, case: Case, caller: Caller, home: Kinds, part: bool = False) -> Iterator[str]:
        """The same with ids that are not the caller's: each alone, and together."""
        for chosen in _groups(case, self.declared(case, caller, home) is None):
            missing = {**home, **dict.fromkeys(chosen, RANDOM)}
            nothing = self.ask(case, caller, missing, part)
            yield from self._judge(case, caller, missing, nothing)
            for kind in (DELETED, OWN if self.at_home(caller) == FOREIGN else FOREIGN):
                kinds = {**home, **dict.fromkeys(chosen, kind)}
                said = self.ask(case, caller, kinds, part)
                yield from self._judge(case, caller, kinds, said)
                if self._like_missing(case, caller, kinds, missing) and not said.same_as(nothing):
                    again = self.ask(case, caller, missing, part), self.ask(case, caller, kinds, part)  # a clock may have moved on between the two
                    if not again[0].same_as(again[1]):
                        found = difference(again[0].plain[1], again[1].plain[1])
                        yield f"{self._named(case, caller, kinds)}: {said.status}, but one that never was {nothing.status}: {found}"

    def _like_missing(self, case: Case, caller: Caller, kinds: Kinds, missing: Kinds) -> bool:
        expected = self.declared(case, caller, kinds)
        if case.access.kind in {"public", "unguarded"} or expected != self.declared(case, caller, missing):
            return False
        if expected is not None:
            return True
        # an operator may use rows of any client; what a client deleted it may still name (a filter shows the old campaign's name)
        return bool(case.chooses_client) and DELETED not in kinds.values()

    def _named(self, case: Case, caller: Caller, kinds: Kinds) -> str:
        strange = ", ".join(f"{kind} {param}" for param, kind in kinds.items() if kind != self.at_home(caller))
        return f"{caller.name} {case.method} {case.rule.rule} [{case.name}]" + (f" with {strange}" if strange else "")

    def _judge(self, case: Case, caller: Caller, kinds: Kinds, said: Said, at_home: bool = False) -> Iterator[str]:
        name, expected = self._named(case, caller, kinds), self.declared(case, caller, kinds)
        if said.status >= 500:
            yield f"{name}: {said.status} {said.text[:300]}"
        elif expected is not None and said.status not in expected:
            yield f"{name}: {said.status}, declared {sorted(expected)} {said.location} {said.text[:200] if case.realm == 'api' else ''}"
        elif expected in ({302}, {303}) and not said.location.startswith("/login"):
            yield f"{name}: leads to {said.location}"
        elif at_home and expected is None:
            yield from self._success(case, caller, name, said)
        yield from self._kept(case, caller, name, said, refused=expected is not None)

    def _success(self, case: Case, caller: Caller, name: str, said: Said) -> Iterator[str]:
        answers = case.fill.by_key if caller.by_key and case.fill.by_key else case.fill.answers
        fine = said.status in answers if answers else said.status < 400 and not said.location.startswith("/login")
        if case.access.kind in {"public", "unguarded"}:  # what a right token opens has tests of its own
            fine = said.status < 500
        if not fine:
            told = said.text[:300] if case.realm == "api" else words(said.text)
            yield f"{name}: {said.status} for what it may do: fill it better in tests/matrix/filling.py. {told}"
        elif case.changes and not said.wrote and (case.access.kind not in {"public", "unguarded"} or caller.name == "anonymous") and not case.fill.silent and not answers:
            yield f"{name}: {said.status} {said.location}, but did nothing, so nothing is proved: fill it better in tests/matrix/filling.py (or silent=…)"

    def _kept(self, case: Case, caller: Caller, name: str, said: Said, refused: bool) -> Iterator[str]:
        token = case.access.kind in {"public", "unguarded"} and "token" in case.rule.arguments  # one of ours: the right itself
        ours = self.worlds["ours"]
        for word in caller.forbidden if not token else set(caller.forbidden) - {ours.word, ours.house}:
            if word.lower() in said.folded:
                yield f"{name}: shows {word}: {around(said.text + said.headers, word)}"
        allowed = {*caller.roles, *(["ours"] if token else [])} if not refused else set()
        if not refused and case.access.permission is Permission.USERS_MANAGE:
            allowed = {"ours", "theirs"}  # a person belongs to the installation, whatever their seats
        strange = [what for what in said.changed if what not in allowed]
        if strange:
            yield f"{name}: {said.status}, and changed {', '.join(strange)}"


def _groups(case: Case, let_in: bool) -> list[tuple[Param, ...]]:
    """Which ids are changed together: each alone, all, and for whoever is let in all but the client."""
    if not case.params:
        return []
    inner = tuple(param for param in case.params if param.name != case.chooses_client) if let_in else ()
    return list(dict.fromkeys([*((param,) for param in case.params), *([inner] if inner else []), case.params]))


def difference(one: str, other: str) -> str:
    at = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"{one[max(at - 60, 0) : at + 60]!r} / {other[max(at - 60, 0) : at + 60]!r}"


def around(text: str, word: str) -> str:
    at = text.lower().find(word.lower())
    return repr(text[max(at - 60, 0) : at + 60])


def words(page: str) -> str:
    """What a refusing page says, roughly."""
    body = re.sub(r"<(script|style|svg|select).*?</\1>", "", page, flags=re.S)
    found = re.findall(r'class="[^"]*(?:error|note|problem)[^"]*"[^>]*>(.*?)</', body, re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", " | ".join(found)).split())[:400]
