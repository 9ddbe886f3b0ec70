# ruff: noqa: E501 - mails as tables
"""What a person wrote is seen, what was quoted is hidden, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.safe_html import sanitise
from app.domain.quoting import PartKind, fold_quoted_html, snippet, split_reply
from app.domain.reading import read
from tests.fixtures.mail.corpus import HUMANS, Labelled


@pytest.mark.parametrize("labelled", HUMANS, ids=lambda one: one.name)
def test_the_answer_alone_is_visible(labelled: Labelled) -> None:
    text = read(labelled.raw).plain_for_display
    reply = split_reply(text)
    assert reply.whole == text
    assert reply.visible == text.split("\n\n")[0]


@pytest.mark.parametrize(("text", "visible"), [
    ("> question one\nyes\n\n> question two\nno\n", "yes\n\nno"),
    ("Yes\n\nOn Monday, Anna Lang\n<anna@us.example> wrote:\n\n> a\n> b\nand inline\n> c\n", "Yes\n\nand inline"),
    ("Yes\n\n-----Original Message-----\nFrom: Anna\nSent: Monday\n\nHello", "Yes"),
    ("Yes\n\n________________________________\nFrom: Anna Lang <anna@us.example>\nSent: Monday, November 23, 2026 8:58 AM\nTo: Bob\nSubject: Hello\n\nold", "Yes"),
    ("Oui\n\nDe : Anna Lang <anna@us.example>\nEnvoyé : lundi 23 novembre 2026 08:58\nÀ : Bob\nObjet : Hello\n\nancien", "Oui"),
    ("Sí\n\n*De:* Anna <anna@us.example>\n*Enviado:* lunes, 23 de noviembre de 2026\n*Para:* Bob\n*Asunto:* Hello\n\nviejo", "Sí"),
    ("Yes\n\nSent from my iPhone\n\nOn 23 Nov 2026, at 08:58, Anna <anna@us.example> wrote:\n\n> old", "Yes"),
    ("Ja\n\nVon meinem iPhone gesendet\n\nAm 23.11.2026 um 08:58 schrieb Anna <anna@us.example>:\n\n> alt", "Ja"),
    ("Yes\n-- \nBob Berg\nTarget Inc\n", "Yes"),
    ("On Tuesday I wrote: we should talk\nBob", "On Tuesday I wrote: we should talk\nBob"),
    ("From: here on it gets better\nBob", "From: here on it gets better\nBob"),
    ("My list:\n- one\n- two", "My list:\n- one\n- two"),
    ("> only quoted", "> only quoted"), ("", ""),
    ("Am 23.11.2026 um 08:58 schrieb Anna <anna@us.example>:\n> Passt Ihnen Dienstag?\n\nJa, um zehn.\n", "Ja, um zehn.")])
def test_answers_of_many_programs(text: str, visible: str) -> None:
    reply = split_reply(text)
    assert reply.whole == text
    assert reply.visible == visible


def test_hidden_parts_say_what_they_are() -> None:
    kinds = [part.kind for part in split_reply("Yes\n-- \nBob\n\nOn Mon, Nov 23, 2026 Anna <a@us.example> wrote:\n> old\n").parts]
    assert kinds == [PartKind.VISIBLE, PartKind.SIGNATURE, PartKind.INTRODUCTION, PartKind.QUOTED]


@settings(max_examples=200, deadline=1000)
@given(st.lists(st.sampled_from(["yes", "> q", ">> q", "", "-- ", "On Mon 1 a@b wrote:", "From: a@b", "Sent: x", "To: y", "___________", "Sent from my x", "Le 1 a écrit :"])
                | st.text(max_size=20), max_size=30))
def test_visible_and_hidden_are_always_the_whole(lines: list[str]) -> None:
    text = "\n".join(lines)
    reply = split_reply(text)
    assert reply.whole == text
    assert bool(reply.visible) == bool(text.strip())


def test_a_snippet_is_one_line_cut_at_a_word() -> None:
    assert snippet("Hello\n\n  world") == "Hello world"
    assert snippet("word " * 100, 20) == "word word word word…"
    assert len(snippet("x" * 500, 50)) == 50


@pytest.mark.parametrize(("html", "shown", "folded"), [
    ('<div>Yes</div><div class="gmail_quote"><div class="gmail_attr">On Monday Anna wrote:</div><blockquote class="gmail_quote">old</blockquote></div>', "Yes", "On Monday Anna wrote:"),
    ('<p>Yes</p><blockquote type="cite">old</blockquote>', "Yes", "old"),
    ('<div>Yes</div><div id="appendonsend"></div><hr><div id="divRplyFwdMsg">From: Anna</div><div>old</div>', "Yes", "old"),
    ('<div class="WordSection1"><p>Yes</p><div><div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0in 0in 0in"><p>From: Anna</p></div></div><p>old</p></div>', "Yes", "old"),
    ('<div>Yes</div><div class="yahoo_quoted">old</div>', "Yes", "old")])
def test_quoted_html_is_folded_and_kept(html: str, shown: str, folded: str) -> None:
    safe = sanitise(fold_quoted_html(html, "show quoted text")).html
    before, _, inside = safe.partition("<details>")
    assert shown in before and folded not in before and folded in inside
    assert safe.count("<details>") == 1 and "<summary>show quoted text</summary>" in safe


def test_answers_between_html_quotes_stay_open() -> None:
    safe = fold_quoted_html('<div class="gmail_quote"><blockquote>one?</blockquote><div>yes</div><blockquote>two?</blockquote><div>no</div></div>')
    assert safe.count("<details>") == 2
    assert "</details><div>yes</div><details>" in safe


def test_html_without_quotes_is_untouched() -> None:
    assert fold_quoted_html("<p>Yes") == "<p>Yes"


@pytest.mark.parametrize(
    "introduction",
    [
        "---- On Mon, 30 Nov 2026 09:22:19 +0000 Ann <ann@company.com> wrote ---",
        "---- On Mon, 30 Nov 2026 09:22:19 +0000 ann@company.com wrote ----",
        "Quoting Ann <ann@company.com>:",
        "Zitat von Ann <ann@company.com>:",
        "* Ann <ann@company.com> [2026-11-30 09:22]:",
    ],
)
def test_a_wish_to_leave_is_understood_above_a_quote_of_these_programs_too(introduction: str) -> None:
    reply = split_reply(f"please remove me\n\n{introduction}\n\n> Hello Nina\n> how are you?\n")
    assert reply.visible == "please remove me"
    assert reply.whole.startswith("please remove me")


def test_what_stands_above_a_quote_without_naming_its_writer_is_an_answer() -> None:
    assert split_reply("Ask ann@company.com about this:\n> the price\n\nYes.\n").visible.startswith("Ask ann@company.com")
    assert split_reply("Ask Ann <ann@company.com>:\n\nshe knows.\n").visible == "Ask Ann <ann@company.com>:\n\nshe knows."
