"""One question and everybody who asks it: put into HTTP once, sent to the product with each asker's own token.

What ``Case.call`` does as well is left out where nobody looks: the request told a second time in the words of another HTTP library,
which takes as long as sending it, is told only to the check that asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import requests
from flask import Flask, got_request_exception
from schemathesis import Case
from schemathesis.core.transport import Response, is_event_stream, read_event_stream
from schemathesis.transport.prepare import get_exclude_headers
from schemathesis.transport.requests import REQUESTS_TRANSPORT
from schemathesis.transport.wsgi import WSGI_TRANSPORT
from werkzeug import Client
from werkzeug.exceptions import HTTPException

HOST = "http://localhost"
#: Of an answer without end so much is read (events, seconds), then it is judged.
STREAM_EVENTS, STREAM_S = 1, 2.0


class Answer(Response):
    """``request``: what was asked, put into words when somebody wants to know."""

    __slots__ = ("_case", "_told", "_with")

    def __init__(self, case: Case, headers: dict[str, str], status: int, answered: dict[str, list[str]], content: bytes, cut_short: bool) -> None:
        self._case, self._with, self._told = case, headers, None
        super().__init__(status, answered, content, request=None, elapsed=0.0, verify=False, stream_cut_short=cut_short)  # type: ignore[arg-type]

    @property
    def request(self) -> requests.PreparedRequest:  # type: ignore[override]
        if self._told is None:
            words = REQUESTS_TRANSPORT.serialize_case(self._case, base_url=HOST, headers=self._with)
            self._told = requests.Request(**words).prepare()
        return self._told

    @request.setter
    def request(self, _none: None) -> None:
        """The base class sets it; nothing is known yet."""


class Question:
    """``Question(case, app).asked({"Authorization": …})``: the answer, as the checks read it. Raises what broke in the product."""

    def __init__(self, case: Case, app: Flask) -> None:
        self.case, self.app = case, app
        case._sync_validated_hashes()
        case.freeze_metadata()
        self._left_out = {name.lower() for name in get_exclude_headers(case)}
        self._plain = not case.cookies

    def asked(self, headers: dict[str, str]) -> Response:
        if not self._plain:
            return self.case.call(headers=headers)
        sent = WSGI_TRANSPORT.serialize_case(self.case, headers=headers)
        sent["headers"] = {name: value for name, value in sent["headers"].items() if name.lower() not in self._left_out}
        broken: list[BaseException] = []

        def note(_sender: object, exception: BaseException, **_more: object) -> None:
            if not isinstance(exception, HTTPException):
                broken.append(exception)

        with got_request_exception.connected_to(note, self.app):
            answer = Client(self.app, use_cookies=False).open(**sent)
        if broken:
            raise broken[0]
        if is_event_stream(answer.content_type):
            content, cut_short = read_event_stream(cast("Iterable[bytes]", answer.response), STREAM_S, STREAM_EVENTS)
            answer.close()
        else:
            content, cut_short = answer.get_data(), False
        answered: dict[str, list[str]] = {}
        for name, value in answer.headers:
            answered.setdefault(name.lower(), []).append(value)
        return Answer(self.case, headers, answer.status_code, answered, content, cut_short)
