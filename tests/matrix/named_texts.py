"""Which parameters a view reads as numbers: what the product itself asks for, seen from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.datastructures import ImmutableMultiDict

LOOKS_LIKE_AN_ID = re.compile(r"(^|_)ids?$")


class NamedText(str):
    """A value of a form or an address that remembers under which name it came, and tells when it is read as a number."""

    name: str
    seen: set[tuple[str, str]]

    def _told(self) -> None:
        self.seen.add((request.endpoint or "", self.name))

    def isdigit(self) -> bool:
        self._told()
        return super().isdigit()

    def __int__(self) -> int:
        self._told()
        return int(str(self))


def _named(name: str, value: Any, seen: set[tuple[str, str]]) -> Any:
    if not isinstance(value, str):
        return value
    text = NamedText(value)
    text.name, text.seen = name, seen
    return text


@contextmanager
def numbers_read(app: Flask) -> Iterator[set[tuple[str, str]]]:
    """(endpoint, name) of everything that is read as a number, or whose name says that it is an id, while this is open."""
    seen: set[tuple[str, str]] = set()

    class Named(ImmutableMultiDict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            self._ask(key)
            return _named(key, super().__getitem__(key), seen)

        def get(self, key: str, default: Any = None, type: Any = None) -> Any:
            self._ask(key)
            found = super().get(key, default, type)
            return _named(key, found, seen) if key in self else _named(key, found, seen) if found is not default else found

        def getlist(self, key: str, type: Any = None) -> list[Any]:
            self._ask(key)
            return [_named(key, value, seen) for value in super().getlist(key, type)]

        def _ask(self, key: str) -> None:
            if LOOKS_LIKE_AN_ID.search(str(key)):
                seen.add((request.endpoint or "", str(key)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.request_class, "parameter_storage_class", Named)
        yield seen
