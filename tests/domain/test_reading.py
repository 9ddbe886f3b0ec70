# ruff: noqa: E501 - mails as tables
"""Any bytes become a message: no exception, bounded time, nothing a database could not hold."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain import charsets, headers
from app.domain.autoreply import classify
from app.domain.quoting import split_reply
from app.domain.reading import ReadMessage, read, safe_name, unflow
from tests.fixtures.mail.corpus import ALL

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def _check(raw: bytes) -> ReadMessage:
    message = read(raw)
    for text in (message.subject, message.text, message.html, message.plain_for_display, *message.references,
                 *(part.name for part in message.attachments), *(value for values in message.headers.values() for value in values)):
        text.encode("utf-8")
        assert "\x00" not in text
    classify(message, NOW)
    reply = split_reply(message.plain_for_display)
    assert reply.whole == message.plain_for_display
    assert bool(reply.visible) == bool(message.plain_for_display.strip())
    return message


@settings(max_examples=300, deadline=2000, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=3000))
def test_any_bytes_become_a_message(raw: bytes) -> None:
    _check(raw)


_PIECES = st.sampled_from([
    b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: text/html; charset=utf-16\n", b"Content-Type: text/plain; charset=utf-7\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: x-uuencode\n", b"--b\n", b"--b--\n", b"\n", b"\n\n", b"=?utf-8?b?", b"?=",
    b"Subject: =?iso-8859-1?q?=E4=?=\n", b"From: (((((\"<@>\n", b"To: a@b, <c@d>; \"x\n", b"Content-Disposition: attachment; filename*0*=utf-8''%ff; filename*1=\"x\n",
    b"Content-Type: message/rfc822\n", b"Content-Type: message/delivery-status\n", b"Final-Recipient: rfc822; a@b.test\nAction: failed\nStatus: 5.1.1\n",
    b"<blockquote>", b"> quoted\n", b"On Mon 1 x@y wrote:\n", b"From: x\nSent: y\nTo: z@t\nSubject: q\n", b"\x00\xff\xfe", b"Auto-Submitted: auto-replied\n",
    "Ünï 12月4日 until 4/12\n".encode(), b"begin 644 x\n#0V%T\nend\n", b"Content-Type: text/plain; format=flowed; delsp=yes\n", b"\r", b"Date: Mon, 99 Foo 0 99:99 +9999\n"])


@settings(max_examples=300, deadline=2000, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(_PIECES, st.binary(max_size=20)), max_size=60))
def test_pieces_of_mails_in_any_order_become_a_message(pieces: list[bytes]) -> None:
    _check(b"".join(pieces))


def test_mutilated_real_mails_become_messages() -> None:
    dice = random.Random(7)
    for labelled in ALL:
        for _ in range(4):
            raw = bytearray(labelled.raw)
            for _ in range(dice.randint(1, 20)):
                at = dice.randrange(len(raw))
                raw[at:at + dice.randint(0, 5)] = dice.randbytes(dice.randint(0, 4))
            _check(bytes(raw))


def _nested(depth: int) -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(depth)) + b"\nHi\n"


_HEAVY = {
    "depth": _nested(3000), "same_boundary": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 200_000,
    "headers": b"".join(b"X-%d: y\n" % i for i in range(100_000)) + b"\nHi", "folded": b"Subject: x\n" + b" y\n" * 300_000 + b"\nHi",
    "encoded_words": b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\n\nHi", "half_words": b"Subject: " + b"=?" * 100_000 + b"\n\nHi",
    "addresses": b"To: " + b"a@b.test, " * 100_000 + b"\n\nHi", "comments": b"From: " + b"(" * 200_000 + b"a@b.test\n\nHi",
    "no_newline": b"x" * 3_000_000, "quotes": b"\n\n" + b"> " * 500_000, "lines": b"\n\n" + b"\n" * 1_000_000, "carets": b"From: " + b"<" * 100_000 + b"\n\n",
    "html_open": b"Content-Type: text/html\n\n" + b"<a b='" * 150_000, "html_comment": b"Content-Type: text/html\n\n" + b"<!--" * 200_000,
    "html_script": b"Content-Type: text/html\n\n" + b"<script>" * 100_000, "html_nest": b"Content-Type: text/html\n\n" + b"<blockquote>" * 80_000,
    "entities": b"Content-Type: text/html\n\n" + b"&#x41;&nbsp;&lt" * 60_000, "wrote": b"\n\n" + b"On 1 a@b wrote\n" * 30_000,
    "from_lines": b"\n\n" + b"From: x\n" * 50_000, "digits": b"Subject: out of office\n\n" + b"1 2 3/4 " * 100_000, "spaces": b"Subject: " + b" " * 200_000 + b"x\n\n" + b" " * 500_000 + b"x",
    "base64": b"Content-Transfer-Encoding: base64\n\n" + b"AAAA" * 500_000, "latin": b"\n\n" + bytes(range(128, 256)) * 8000,
    "params": b"Content-Type: text/plain" + b"; a*0*=utf-8''x" * 20_000 + b"\n\nHi", "references": b"References: " + b"<a@b> <" * 60_000 + b"\n\nHi",
    "at_signs": b"From: mailer-daemon@x.test\nSubject: failure notice\n\n" + b"a@" * 100_000, "words": b"From: a@b.test\n\n" + b"please contact " * 60_000,
    "underscores": b"\n\n" + b"_" * 400_000 + b"!", "ids": b"\n\n" + b"Message-ID: <" * 50_000}


@pytest.mark.parametrize("name", sorted(_HEAVY))
def test_hostile_sizes_take_bounded_time(name: str) -> None:
    raw = _HEAVY[name]
    started = time.process_time()
    message = read(raw)
    read_seconds = time.process_time() - started
    classify(message, NOW)
    split_reply(message.plain_for_display)
    assert read_seconds < (0.25 + 0.05 * len(raw) / 1e6) * 4  # test machines are slow and shared
    assert time.process_time() - started < 3


def test_limits_leave_a_warning() -> None:
    assert "more parts or levels than we read" in read(_nested(60)).warnings
    assert any("headers over the limit" in warning for warning in read(_HEAVY["headers"]).warnings)


@pytest.mark.parametrize(("declared", "data", "text"), [
    ("utf-8", "Grüße".encode(), "Grüße"), ("iso-8859-1", "Grüße “x”".encode("cp1252"), "Grüße “x”"), ("x-unknown", "Grüße".encode(), "Grüße"),
    ("us-ascii", "Grüße".encode(), "Grüße"), ("ks_c_5601-1987", "한국".encode("cp949"), "한국"), ("gb2312", "镕基".encode("gb18030"), "镕基"),
    ("shift_jis", "①日本".encode("cp932"), "①日本"), ("iso-2022-jp", "日本語".encode("iso2022_jp"), "日本語"), ("koi8-r", "Привет".encode("koi8_r"), "Привет"),
    ("iso-8859-8-i", "שלום".encode("iso-8859-8"), "שלום"), ("cp-850", "é".encode("cp850"), "é"),
    ("unicode_escape", b"\\x41", "\\x41"), ("utf-7", b"+ADw-script+AD4-", "+ADw-script+AD4-")])
def test_the_charset_ladder(declared: str, data: bytes, text: str) -> None:
    assert charsets.decode(data, declared).text == text


def test_an_unknown_cyrillic_text_is_guessed_with_a_mark() -> None:
    decoded = charsets.decode("Здравствуйте, я хотел бы узнать больше о вашем предложении. Спасибо!".encode("cp1251"), None)
    assert decoded.text.startswith("Здравствуйте") and decoded.warning


def test_headers_of_every_kind_are_decoded() -> None:
    message = read(b"From: =?utf-8?q?M=C3=BCller=2C_Dr=2E?= <Joerg@Target.Example>\nTo: \"Lang, Anna\" <anna+tok1@us.example>, Team: a@x.test, b@y.test;\n"
                   b"Subject: =?utf-8?b?R3LDvA==?= =?utf-8?b?w59l?=\nMessage-ID: <a@b>\nReferences: <x@y>\n\t<z@w>\nDate: Mon, 23 Nov 2026 10:00:00 +0530\n\nHi")
    assert message.from_ is not None
    assert (message.from_.name, message.from_.key) == ("Müller, Dr.", "joerg@target.example")
    assert [one.address for one in message.to] == ["anna+tok1@us.example", "a@x.test", "b@y.test"]
    assert (message.subject, message.message_id, message.references) == ("Grüße", "a@b", ("x@y", "z@w"))
    assert message.date == datetime(2026, 11, 23, 4, 30, tzinfo=UTC)


def test_an_encoded_line_end_makes_no_second_line() -> None:
    assert "\n" not in read(b"Subject: =?utf-8?q?a=0D=0ABcc:_x@y.test?=\n\nHi").subject


def test_parts_names_and_inline_images_are_found() -> None:
    message = read(b"From: a@b.test\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/related; boundary=r\n\n--r\n"
                   b"Content-Type: multipart/alternative; boundary=i\n\n--i\n\nplain\n--i\nContent-Type: text/html\n\n<p>html <img src=cid:p1></p>\n--i--\n"
                   b"--r\nContent-Type: image/png\nContent-ID: <p1>\nContent-Transfer-Encoding: base64\n\niVBORw==\n--r--\n"
                   b"--o\nContent-Type: application/pdf; name*0=\"in\"; name*1=\"voice.pdf\"\nContent-Disposition: attachment\n\n%PDF\n--o--\n")
    assert (message.text, message.plain_for_display) == ("plain", "plain") and "<img" in message.html
    assert [(one.name, one.content_type, one.content_id, one.inline, one.content) for one in message.attachments] == [
        ("attachment", "image/png", "p1", True, b"\x89PNG"), ("invoice.pdf", "application/pdf", None, False, b"%PDF")]


def test_an_html_only_mail_reads_as_text_with_its_quotes() -> None:
    message = read(b"Content-Type: text/html\n\n<style>p{}</style><p>Yes &amp; no</p><ul><li>one<li>two</ul><blockquote>old</blockquote>")
    assert message.plain_for_display.split("\n\n")[0] == "Yes & no"
    assert "- one\n- two" in message.plain_for_display and "> old" in message.plain_for_display


def test_flowed_text_is_joined_and_quotes_stay() -> None:
    assert unflow("one \ntwo\n> a \n> b\n>> c\n-- \nsig") == "one two\n> a b\n>> c\n-- \nsig"


@pytest.mark.parametrize("subject", ["Re: AW: Hello", "RE[2]: hello", "Fwd: FW: Hello", "回复：Hello", "[External] Re: Hello", "SV: Antw: HELLO ", "Re:Hello", "Odp: Hello"])
def test_subjects_of_a_thread_share_a_base(subject: str) -> None:
    assert headers.subject_base(subject) == "hello"


def test_a_file_name_carries_no_path_and_turns_no_text() -> None:
    assert safe_name("../../etc/passwd") == "passwd"
    assert safe_name("invoice\u202efdp.exe") == "invoice_fdp.exe"
    assert safe_name(" ..") == "attachment"
