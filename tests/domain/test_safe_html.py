# ruff: noqa: E501 - mails as tables
"""Hostile mails are harmless after sanitising: an independent parser looks at what is left."""

from __future__ import annotations

import re
import time

import html5lib
import pytest

from app.core.safe_html import CSS_PROPERTIES, TAGS, safe_link, safe_style, sanitise
from app.domain.quoting import fold_quoted_html
from tests.fixtures.hostile_html import HOSTILE

ALLOWED_ATTRIBUTES = {"style", "dir", "lang", "title", "align", "href", "target", "rel", "src", "alt", "width", "height", "border", "hspace", "vspace", "valign", "bgcolor", "cellpadding", "cellspacing", "summary", "colspan", "rowspan", "nowrap", "scope", "span", "color", "face", "size", "start", "type", "reversed", "value", "noshade", "datetime", "open"}

#: Attributes that hold words, and the one that a reader follows.
WORDS = {"title", "alt", "summary", "href"}


def _check(html: str) -> None:
    tree = html5lib.parse(html, namespaceHTMLElements=False)
    for node in tree.iter():
        if not isinstance(node.tag, str):
            pytest.fail("a comment is left")
        assert node.tag in TAGS | {"html", "head", "body"}, node.tag
        for name, value in node.attrib.items():
            assert name in ALLOWED_ATTRIBUTES, name
            assert "evil.test" not in value or name in WORDS, f"{name}={value}"
            if name == "href":
                assert re.match(r"https?://[^/\\@\s]+|mailto:", value), value
            if name == "src":
                assert value.startswith(("/parts/", "/proxy?", "data:image/png;", "data:image/gif;")), value
            if name == "style":
                assert not re.search(r"url|expression|import|\\|position|image|var\(|attr", value, re.IGNORECASE), value
                assert all(one.partition(":")[0].strip() in CSS_PROPERTIES for one in value.split(";")), value
        if node.tag == "a" and "href" in node.attrib:
            assert "noopener" in node.attrib["rel"] and node.attrib["target"] == "_blank"


def test_the_table_is_large() -> None:
    assert len(HOSTILE) >= 700 and len({name for name, _ in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize(("name", "html"), HOSTILE, ids=[name for name, _ in HOSTILE])
def test_nothing_hostile_is_left(name: str, html: str) -> None:
    for source in (html, f"<table><tr><td>{html}</td></tr></table>", fold_quoted_html(f"<blockquote>{html}</blockquote>")):
        _check(sanitise(source).html)
    _check(sanitise(html, images="proxy", proxy_url=lambda url: "/proxy?u=1").html)
    _check(sanitise(sanitise(html).html).html)


def test_an_ordinary_mail_keeps_its_look() -> None:
    html = ('<table width="600" bgcolor="#fff"><tr><td style="padding: 4px; color: #333; font-family: Arial, sans-serif">'
            '<p>Hi <b>Bob</b>, see <a href="https://x.test/a?b=1&amp;c=2#d">this</a> or <a href="mailto:a@b.test?subject=Hi%20you">write</a></p></td></tr></table>')
    safe = sanitise(html).html
    for piece in ('width="600"', 'bgcolor="#fff"', "padding: 4px; color: #333; font-family: Arial, sans-serif", "<b>Bob</b>",
                  'href="https://x.test/a?b=1&amp;c=2#d"', 'href="mailto:a@b.test?subject=Hi%20you"'):
        assert piece in safe


def test_remote_images_are_counted_and_only_the_proxy_shows_them() -> None:
    html = '<img src="https://x.test/logo.png" alt="Logo"><img src="http://x.test/2.png"><img src="https://x.test/p.gif" width="1" height="1">'
    off = sanitise(html)
    assert (off.remote_image_count, off.pixel_count) == (2, 1) and "x.test" not in off.html and 'alt="Logo"' in off.html
    on = sanitise(html, images="proxy", proxy_url=lambda url: "/proxy?u=" + url[-5:])
    assert on.remote_image_count == 2 and on.html.count("/proxy?u=") == 2 and "https://x.test" not in on.html


def test_enclosed_images_come_from_our_copy() -> None:
    safe = sanitise('<img src="cid:Part1@X"><img src="cid:none"><img src="data:image/png;base64,iVBORw0KGgo=">', cid_urls={"<part1@x>": "/parts/7"}).html
    assert 'src="/parts/7"' in safe and "cid:" not in safe and "data:image/png;base64,iVBORw0KGgo=" in safe


@pytest.mark.parametrize("url", ["https://x.test", "http://x.test:8080/a?b#c", "https://bücher.test/a", "HTTPS://X.test/", "mailto:a@b.test", "http://[2001:db8::1]/"])
def test_whole_addresses_are_links(url: str) -> None:
    assert safe_link(url) == url


@pytest.mark.parametrize(("style", "kept"), [
    ("color: red", "color: red"), ("COLOR:RED;", "color: RED"), ("color:red;position:fixed", "color: red"), ("margin:0 auto", "margin: 0 auto"),
    ("margin-left:-9px", None), ("background-color:rgb(1, 2, 3)", "background-color: rgb(1, 2, 3)"), ("width:calc(100% - 3px)", "width: calc(100% - 3px)"),
    ("color:red\\", None), ("display:none", "display: none"), ("display:grid", None), ("", None)])
def test_styles_are_kept_declaration_by_declaration(style: str, kept: str | None) -> None:
    assert safe_style(style) == kept


@pytest.mark.parametrize("html", ["<div>" * 50_000, "<a href=http://x.test>" * 40_000, "<table>" * 20_000, "<b><i>" * 20_000, "<img src=x>" * 40_000, "<p style='" * 50_000,
                                  "<!--" * 200_000, "&" * 500_000, "<p>" * 100_000, "<blockquote>" * 600], ids=range(10))
def test_hostile_sizes_take_bounded_time(html: str) -> None:
    started = time.process_time()
    sanitise(fold_quoted_html(html))
    assert time.process_time() - started < 3
