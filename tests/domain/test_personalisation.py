from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.personalisation import (
    KNOWN_VARIABLES,
    Kind,
    MissingVariable,
    OutputTooLarge,
    TemplateError,
    compile_template,
    render,
)

ADA = {"first_name": "Ada", "company": "Engines & Co", "title": "CEO", "empty": "  "}


def said(source: str, kind: Kind = "text", seed: int = 1, **more: str) -> str:
    return render(compile_template(source, kind), ADA | more, seed)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Hi {{first_name}}!", "Hi Ada!"),
        ("Hi {{ firstName }}!", "Hi Ada!"),
        ("Hi {{ First Name }}!", "Hi Ada!"),
        ("Hi {first_name} {firstName}!", "Hi Ada Ada!"),
        ("{{ companyName }}", "Engines & Co"),
        ('{{ empty | fallback: "there" }}', "there"),
        ("{{ nick | default: 'you' | upper }}", "YOU"),
        ("{{ nick | fallback: “dear you” }}", "dear you"),
        ('{{ nick | fallback: "a|b" }}', "a|b"),
        ('{{ nick | fallback: "" }}', ""),
        ("{{ first_name | upper | lower | capitalize }}", "Ada"),
        ("{% if company %}at {{company}}{% endif %}", "at Engines & Co"),
        ("{% if nick %}{{nick}}{% elsif title == 'CEO' %}boss{% else %}you{% endif %}", "boss"),
        ("{% if not nick %}no{% endif %}{% unless company %}x{% endunless %}", "no"),
        ("{% if title != 'CEO' %}a{% else %}b{% endif %}", "b"),
        ("a   {{- first_name -}}   b", "aAdab"),
        ("a \\{b\\|c\\} { d } {e f} }", "a {b|c} { d } {e f} }"),
        ("{ not | closed", "{ not | closed"),
    ],
)
def test_what_people_write_is_understood(source: str, text: str) -> None:
    assert said(source) == text


@pytest.mark.parametrize(
    ("source", "says", "place"),
    [
        ("Hi\n {{ first_name", "never closed", (2, 2)),
        ("{{ 1+1 }}", "not the name of a variable", (1, 1)),
        ("{{ a.__class__.__mro__() }}", "not the name", (1, 1)),
        ("{{ a | eval }}", "not known after a bar", (1, 1)),
        ("{{ a | fallback }}", "needs a text", (1, 1)),
        ("x{% for a in b %}", "not known", (1, 2)),
        ("{% if a %}", "has no end", (1, 1)),
        ("{% endif %}", "no beginning", (1, 12)),
        ("{% if a | b %}x{% endif %}", "Write a condition", (1, 1)),
        ("{a|{% if b %}c}{% endif %}", "overlap", None),
        ("{a|" * 7 + "}" * 7, "nested deeper", None),
        ("{{ " + "x" * 600 + " }}", "missing", (1, 1)),
        ("{{a}}" * 10_001, "too many", None),
        ("x" * 300_000, "longer than", None),
    ],
)
def test_what_cannot_be_used_is_refused_with_place_and_advice(
    source: str, says: str, place: tuple[int, int] | None
) -> None:
    with pytest.raises(TemplateError, match=says) as caught:
        compile_template(source, "text")
    assert place is None or (caught.value.line, caught.value.column) == place


def test_a_missing_value_is_an_error_that_names_all_of_them() -> None:
    with pytest.raises(MissingVariable) as caught:
        said("{{ nick }} {{ empty }} {{ first_name }} {{ nick }}")
    assert caught.value.names == ("nick", "empty")


def test_only_what_is_really_shown_must_have_a_value() -> None:
    template = compile_template(
        "{{first_name}} {{nick|fallback:'x'}} {% if company %}{{company}}{% else %}{{title}}{% endif %}", "text"
    )
    assert template.variables == ("first_name", "nick", "company", "title")
    assert template.required == ("first_name", "title")
    assert render(template, {"first_name": "A", "company": "B"}, 0) == "A x B"


def test_alternatives_are_stable_by_seed_and_all_are_used() -> None:
    source = "{Hi|Hello|{Good {morning|day}}} {{first_name}}"
    results = {said(source, seed=seed) for seed in range(200)}
    assert results == {"Hi Ada", "Hello Ada", "{Good morning} Ada", "{Good day} Ada"}
    assert all(said(source, seed=seed) == said(source, seed=seed) for seed in range(50))


def test_alternatives_are_spread_evenly_and_independently() -> None:
    picks = [said("{a|b} {c|d}", seed=seed) for seed in range(4_000)]
    assert all(850 < picks.count(text) < 1_150 for text in ("a c", "a d", "b c", "b d"))


@pytest.mark.parametrize("kind", ["subject", "text", "html"])
@pytest.mark.parametrize("value", ["{{ title }}", "{% if x %}", "{a|b}", "{title}", "\\{x\\}"])
def test_values_are_never_rendered_again(kind: Kind, value: str) -> None:
    assert said("<{{ first_name }}>".strip("<>"), kind, first_name=value) == value


def test_html_values_are_escaped_and_text_values_are_not() -> None:
    evil = "<img src=x onerror=alert(1)>\"'&"
    assert said("<p>{{first_name}}</p>", "html", first_name=evil) == (
        "<p>&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;</p>"
    )
    assert said("{{first_name}}", "text", first_name=evil) == evil
    assert "<" not in said('{{ nick | fallback: "1 &lt; 2" }}', "html")


def test_links_take_only_addresses_and_parts_are_encoded() -> None:
    link = '<a href="{{ url }}">x</a>'
    assert 'href="#"' in said(link, "html", url="javascript:alert(1)")
    assert 'href="#"' in said(link, "html", url=" JaVaScRiPt:alert(1)")
    assert 'href="https://www.acme.com"' in said(link, "html", url="www.acme.com")
    assert 'href="https://u.example/a?b=1&amp;c=2"' in said(link, "html", url="https://u.example/a?b=1&c=2")
    assert said('<a href="https://x.example/?q={{ company }}">', "html") == (
        '<a href="https://x.example/?q=Engines%20%26%20Co">'
    )


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("<a href={{url}}>", "quotes"),
        ("<a {{url}}>", "quotes"),
        ("<style>p{color:{{c}}}</style>", "style sheet"),
        ('<script src="x">{{c}}</script>', "style sheet"),
    ],
)
def test_values_may_not_stand_where_they_could_become_markup(source: str, says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        compile_template(source, "html")


def test_style_sheets_keep_their_braces() -> None:
    source = '<style>p{color:red}a{content:"|"}</style><p>{Hi|Hi} {{&nbsp;nick | fallback: &quot;you&quot; }}</p>'
    assert said(source, "html") == '<style>p{color:red}a{content:"|"}</style><p>Hi you</p>'


def test_a_subject_is_one_line_without_control_characters() -> None:
    evil = "Ada\r\nBcc: eve@example.com\x00\u2028x\x85y\u2029z"
    assert said("Hi\n {{first_name}}", "subject", first_name=evil) == "Hi Ada Bcc: eve@example.com x y z"


def test_control_characters_never_reach_a_text() -> None:
    assert said("{{first_name}}", first_name="a\x00b\x1b[31m\r\nc\td") == "ab[31m\nc d"


def test_huge_values_are_refused_before_they_are_joined() -> None:
    with pytest.raises(OutputTooLarge):
        said("{{a}}" * 3_000, a="x" * 100_000)
    with pytest.raises(OutputTooLarge):
        said("{{a}}", a="\u20ac" * 100_000)


def test_many_values_are_refused_before_they_are_joined() -> None:
    """Each is short; together, and escaped, they are four times what a message may have."""
    template, values = compile_template("{{a}}" * 3_000, "html"), {"a": "&" * 100}
    tracemalloc.start()
    try:
        with pytest.raises(OutputTooLarge):
            render(template, values, 0)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.text("{}|%\\ aif\n<>\"'=-", max_size=60), st.sampled_from(["subject", "text", "html"]), st.integers())
def test_any_source_is_rendered_or_refused(source: str, kind: Kind, seed: int) -> None:
    try:
        render(compile_template(source, kind), {"a": "x"}, seed)
    except (TemplateError, MissingVariable):
        pass


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_no_value_can_add_markup_or_lines(value: str) -> None:
    values = {"v": value}
    template = compile_template('<p title="{{ v | fallback: "-" }}">{{ v | fallback: "-" }}</p>', "html")
    text = render(template, values, 1)
    assert text.count("<") == 2 and text.count(">") == 2 and text.count('"') == 2
    subject = render(compile_template("{{ v | fallback: '-' }}", "subject"), values, 1)
    assert len(subject.splitlines()) <= 1


@pytest.mark.parametrize(
    "evil",
    [
        "{" * 20_000,
        "{|" * 20_000,
        "<" * 20_000,
        '<a href="' * 2_000,
        "<style>" * 3_000,
        "{%" * 20_000,
        "{{" + "|'" * 9_999 + "}}",
    ],
)
@pytest.mark.parametrize("kind", ["text", "html"])
def test_malicious_sources_take_no_time(evil: str, kind: Kind) -> None:
    start = time.process_time()
    try:
        render(compile_template(evil, kind), {}, 1)
    except (TemplateError, MissingVariable):
        pass
    assert time.process_time() - start < 1.0


def test_rendering_four_kilobytes_is_quick() -> None:
    source = ("Hello {{first_name}}, it is {nice|good} to see {{company}} grow. " + "Plain words. " * 25) * 10
    template = compile_template(source, "html")
    start = time.perf_counter()
    for seed in range(500):
        render(template, ADA, seed)
    assert (time.perf_counter() - start) / 500 < 1e-3  # 100 µs wanted; the rest is for a busy machine


def test_the_known_variables_can_all_be_written() -> None:
    for variable in KNOWN_VARIABLES:
        assert compile_template("{{ " + variable.name + " }}", "text").variables == (variable.name,)
        assert variable.label and variable.example
