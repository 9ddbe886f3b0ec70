"""Lines encoded piece by piece are the lines encoded together, whatever they hold."""

from __future__ import annotations

import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.personalisation import _Run, compile_template, fill
from app.domain.wire_lines import Lines, encoded, plain_of, put, shared, with_end

#: What encoders trip over: ends of lines of every kind, controls, spaces before an end, "From ", dots, equals signs, long words.
_AWKWARD = st.sampled_from(["\n", "\r\n", " \n", "\t\n", "From ", "\nFrom ", ".\n", "=", "=_", "ä", "\x00", "\x7f", "x" * 300, "y" * 901, " ", "%s", "🌱"])
_TEXT = st.lists(_AWKWARD | st.text(max_size=8), max_size=12).map("".join)
_WHOLE = _TEXT.filter(lambda text: "\r" not in text).map(lambda text: text + "\n")


@given(whole=st.lists(_WHOLE, max_size=5), last=_TEXT, kept=st.lists(st.booleans(), min_size=6, max_size=6))
def test_pieces_are_encoded_as_the_whole_is(whole: list[str], last: str, kept: list[bool]) -> None:
    pieces = [shared(text) if keep else text for text, keep in zip([*whole, last], kept, strict=False)]
    assert encoded(pieces) == encoded("".join([*whole, last]))


@given(text=_TEXT)
def test_what_is_encoded_reads_as_what_was_meant(text: str) -> None:
    how, body = encoded(text)
    read = quopri.decodestring(body) if how == "quoted-printable" else body
    meant = text.replace("\r\n", "\n").replace("\r", "\n")
    meant = "".join(c for c in meant if c in "\n\t" or not (c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff"))
    assert read.replace(b"\r\n", b"\n").decode() == (meant if meant.endswith("\n") else meant + "\n")
    assert all(len(line) <= 998 for line in body.split(b"\r\n"))
    if how == "7bit":
        assert body.isascii() and b" \r\n" not in body and b"From " not in body


@pytest.mark.parametrize(("text", "at"), [("one\ntwo\nthree", 8), ("one\ntwo\nthree", 0), ("one\n", 4), ("one", 3), ("", 0)])
def test_words_are_put_where_they_belong_and_only_their_line_becomes_the_messages_own(text: str, at: int) -> None:
    found = put(["before\n", shared(text), "after"], 1, at, "HERE")
    assert plain_of(found) == "before\n" + text[:at] + "HERE" + text[at:] + "after"
    kept = [piece.text for piece in found if isinstance(piece, Lines)]
    assert kept == ([text[: text.rfind("\n", 0, at) + 1]] if text.rfind("\n", 0, at) >= 0 else [])
    assert plain_of(with_end([shared(text)], "END")) == text + "END"


_SOURCE = st.lists(
    st.sampled_from(["{{ a }}", "{{ b | fallback: 'x' | upper }}", "{one|two\n|{{ a }}}", "{% if b %}B {{ b }}\n{% else %}none{% endif %}", "%s", "100 %"])
    | st.text("ab &\n", max_size=30) | st.just("<br>")
    | st.just("A whole line that every message has in common, long enough.\n" * 5),
    max_size=10,
).map("".join)  # fmt: skip


@given(source=_SOURCE, a=st.text("xy &<\n", min_size=1, max_size=6).filter(str.strip), b=st.sampled_from(["", "Bo", "100%"]), seed=st.integers(0, 9))
def test_a_template_filled_by_regions_reads_as_its_nodes_one_after_the_other(source: str, a: str, b: str, seed: int) -> None:
    values = {"a": a, "b": b}
    for kind in ("text", "html"):
        template = compile_template(source, kind)  # type: ignore[arg-type]
        pieces = fill(template, values, seed)
        assert plain_of(pieces) == _Run(values, seed, template.kind, {}).text_of(template.nodes)
        assert all(plain_of([piece]).endswith("\n") for piece in pieces[:-1])
        assert encoded(pieces) == encoded(plain_of(pieces))
