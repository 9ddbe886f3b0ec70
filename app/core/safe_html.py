"""HTML of strangers made harmless at the moment it is shown: our own allow-list, never a list of what is forbidden.

The result still belongs into a sandboxed frame with its own policy; this is the first wall, not the only one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Literal
from urllib.parse import unquote

import nh3
from selectolax.lexbor import LexborHTMLParser

from app.domain.html_text import html_to_text

MAX_HTML = 2_000_000
MAX_STYLE = 4_000
MAX_DATA_IMAGE = 3_000_000
MAX_NESTING = 800

TAGS = frozenset(
    [
        "a", "abbr", "acronym", "address", "article", "aside", "b", "bdi", "bdo", "big", "blockquote", "br",
        "caption", "center", "cite", "code", "col", "colgroup", "dd", "del", "details", "dfn", "div", "dl", "dt",
        "em", "figcaption", "figure", "font", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "i",
        "img", "ins", "kbd", "li", "main", "mark", "ol", "p", "pre", "q", "rp", "rt", "ruby", "s", "samp", "section",
        "small", "span", "strike", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead",
        "time", "tr", "tt", "u", "ul", "var", "wbr",
    ])
DROPPED_WITH_CONTENT = frozenset(
    [
        "script", "style", "title", "template", "noscript", "noembed", "noframes", "svg", "math", "iframe", "frame",
        "frameset", "object", "embed", "applet", "audio", "video", "canvas", "textarea", "select", "option", "xmp",
        "plaintext", "portal",
    ])
_BOX = {"align", "valign", "width", "height", "bgcolor", "style", "dir", "lang", "title"}
_ATTRIBUTES: dict[str, set[str]] = {
    "*": {"style", "dir", "lang", "title", "align"},
    "a": {"href"}, "img": {"src", "alt", "width", "height", "border", "hspace", "vspace"},
    "table": _BOX | {"border", "cellpadding", "cellspacing", "summary"}, "td": _BOX | {"colspan", "rowspan", "nowrap"},
    "th": _BOX | {"colspan", "rowspan", "nowrap", "scope"}, "tr": set(_BOX), "tbody": set(_BOX), "thead": set(_BOX), "tfoot": set(_BOX),
    "col": {"span", "width"}, "colgroup": {"span", "width"}, "font": {"color", "face", "size"}, "ol": {"start", "type", "reversed"},
    "ul": {"type"}, "li": {"value", "type"}, "hr": {"size", "width", "color", "noshade"}, "time": {"datetime"}, "details": {"open"},
}
CSS_PROPERTIES = frozenset(
    [
        "background-color", "border", "border-bottom", "border-bottom-color", "border-bottom-style",
        "border-bottom-width", "border-collapse", "border-color", "border-left", "border-left-color",
        "border-left-style", "border-left-width", "border-radius", "border-right", "border-right-color",
        "border-right-style", "border-right-width", "border-spacing", "border-style", "border-top",
        "border-top-color", "border-top-style", "border-top-width", "border-width", "box-sizing", "clear", "color",
        "direction", "display", "float", "font", "font-family", "font-size", "font-style", "font-variant",
        "font-weight", "height", "letter-spacing", "line-height", "list-style-type", "margin", "margin-bottom",
        "margin-left", "margin-right", "margin-top", "max-height", "max-width", "min-height", "min-width", "opacity",
        "overflow-wrap", "padding", "padding-bottom", "padding-left", "padding-right", "padding-top", "table-layout",
        "text-align", "text-decoration", "text-indent", "text-transform", "unicode-bidi", "vertical-align",
        "white-space", "width", "word-break", "word-spacing", "word-wrap",
    ])
_DISPLAYS = frozenset({"none", "block", "inline", "inline-block", "table", "table-row", "table-cell", "list-item", "inline-table"})
# No url(), expression(), image-set(), attr(), var(), escapes or comments: only plain values and colour functions.
_CSS_VALUE = re.compile(r"(?:[\w\s#.,%!+'\"-]|(?:rgba?|hsla?|calc)\([\d\s.,%/+*a-z-]{1,60}\))*", re.IGNORECASE | re.ASCII)
_CSS_FAMILY = re.compile(r"[^<>{}()\\@:;/*]{1,300}")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}\.?(?::\d{{1,5}})?|\[[0-9a-f:.]{{2,45}}\](?::\d{{1,5}})?")
_DATA_IMAGE = re.compile(r"data:image/(?:png|jpe?g|gif|webp|bmp);base64,[A-Za-z0-9+/=\s%]{4,}", re.IGNORECASE)
_MAILTO = re.compile(r"mailto:[^\s<>\"'\\]{1,1500}", re.IGNORECASE)
_UNSAFE_IN_URL = re.compile(
    "[\x00-\x20\x7f-\xa0\"'<>\\\\^`{|}\u00ad\u034f\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\uffff]")


@dataclass(frozen=True, slots=True)
class SafeHtml:
    """`remote_image_count`: images on other servers, shown through the proxy or left out; `pixel_count`: 1×1 images removed."""

    html: str
    remote_image_count: int
    pixel_count: int = 0


def sanitise(source: str, *, cid_urls: Mapping[str, str] | None = None, images: Literal["off", "proxy"] = "off",
             proxy_url: Callable[[str], str | None] | None = None) -> SafeHtml:
    """HTML that can be shown. `cid_urls`: Content-ID without angle brackets → address of our own copy.

    With images "off" remote images are left out (their alt text stays); with "proxy" they get `proxy_url(address)`
    (None: left out as well).
    Never raises on any text."""
    source = source[:MAX_HTML].replace("\x00", "")
    if _too_heavy(source):  # parsers take quadratic time on it
        return SafeHtml(f"<pre>{escape(html_to_text(source))}</pre>", 0)
    source, pixels = _without_pixels(source)
    cids = {key.strip("<>").lower(): value for key, value in (cid_urls or {}).items()}
    remote = 0

    def keep(tag: str, name: str, value: str) -> str | None:
        nonlocal remote
        if name == "style":
            return safe_style(value)
        if name == "href":
            return safe_link(value) if tag == "a" else None
        if name == "src":
            if safe_link(value, mail=False) is None:
                return _local_image(value, cids)
            remote += 1
            return proxy_url(value.strip()) if images == "proxy" and proxy_url else None
        return _plain_attribute(name, value)

    cleaned = nh3.clean(
        source, tags=set(TAGS), clean_content_tags=set(DROPPED_WITH_CONTENT), attributes=_ATTRIBUTES,
        attribute_filter=keep, strip_comments=True, link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
        url_schemes={"http", "https", "mailto", "cid", "data"}, generic_attribute_prefixes=set())
    return SafeHtml(cleaned, remote, pixels)


# Elements that close themselves or each other do not add depth.
_NESTING = re.compile(
    r"<(/?)(?!(?:p|li|td|th|tr|dd|dt|br|hr|img|meta|link|input|col|wbr|area|base|embed|source|param|o:p|option|tbody|thead)\b)"
    r"[a-z]", re.IGNORECASE)


def _too_heavy(source: str) -> bool:
    """Nesting, references or tags in numbers that only somebody who means harm writes."""
    if source.count("&") > 100_000 or source.count("<") > 200_000:
        return True
    depth = 0
    for found in _NESTING.finditer(source):
        depth = max(0, depth - 1) if found[1] else depth + 1
        if depth > MAX_NESTING:
            return True
    return False


_NUMBERS = frozenset({"width", "height", "border", "hspace", "vspace", "cellpadding", "cellspacing", "colspan", "rowspan",
                      "span", "size", "start", "value"})


def _plain_attribute(name: str, value: str) -> str | None:
    if name in _NUMBERS:
        return value if re.fullmatch(r"\s*[+-]?\d{1,5}(?:\.\d{1,3})?\s*(?:%|px|\*)?\s*", value) else None
    if name in ("bgcolor", "color"):
        return value if re.fullmatch(r"\s*(?:#?[0-9a-fA-F]{3,8}|[a-zA-Z]{3,30})\s*", value) else None
    return value[:2000]


def safe_link(value: str, *, mail: bool = True) -> str | None:
    """The address when it is a whole http(s) address with a host (or mailto:), else None. Strict: what is odd is not a link."""
    value = value.strip(" \t\r\n\f")
    if len(value) > 8000 or _UNSAFE_IN_URL.search(value):
        return None
    if mail and _MAILTO.fullmatch(value):
        # encoded line ends would give the reader's mail program headers of the sender's choosing
        return None if re.search(r"[\r\n\x00]", unquote(value)) else value
    scheme, slashes, rest = value.partition("://")
    if not slashes or scheme.lower() not in ("http", "https"):
        return None
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:  # a name before the host is only ever used to mislead
        return None
    try:
        host = authority.lower() if authority.isascii() else authority.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    return value if _HOST.fullmatch(host) else None


def _local_image(value: str, cids: Mapping[str, str]) -> str | None:
    value = value.strip()
    if value[:4].lower() == "cid:":
        return cids.get(unquote(value[4:]).strip("<>").lower())
    if len(value) <= MAX_DATA_IMAGE and _DATA_IMAGE.fullmatch(value):
        return value
    return None


def safe_style(value: str) -> str | None:
    """The declarations whose property and value are both on the list, or None when nothing is left."""
    if len(value) > MAX_STYLE or "\\" in value or "/*" in value:
        return None
    kept: list[str] = []
    for declaration in value.split(";"):
        name, colon, setting = declaration.partition(":")
        name, setting = name.strip().lower(), " ".join(setting.split())
        if not colon or name not in CSS_PROPERTIES or not setting or len(setting) > 300:
            continue
        if name in ("font-family", "font"):
            allowed = _CSS_FAMILY.fullmatch(setting)
        elif name == "display":
            allowed = re.fullmatch(r"[a-z-]+", setting.lower().replace("!important", "").strip())
            if allowed and allowed[0] not in _DISPLAYS:
                continue
        else:
            allowed = _CSS_VALUE.fullmatch(setting)
        if allowed and not re.search(r"expression|javascript|behavi|binding|url|image|element|attr|var\b", setting, re.IGNORECASE):
            # a negative margin or indent can lay words of one mail over the frame's own lines
            if name.startswith(("margin", "text-indent")) and "-" in setting:
                continue
            kept.append(f"{name}: {setting}")
    return "; ".join(kept) or None


_TINY = re.compile(r"^\s*[01](?:\.0+)?\s*(?:px)?\s*$")
_TINY_STYLE = re.compile(r"(?:^|;)\s*(?:max-)?(?:width|height)\s*:\s*[01](?:\.0+)?\s*(?:px)?\s*(?:!important\s*)?(?:;|$)", re.IGNORECASE)


def _without_pixels(source: str) -> tuple[str, int]:
    """Counting images (1×1, 0×0, hidden) taken out; they are never worth a request, not even through the proxy."""
    if "<img" not in source.lower():
        return source, 0
    tree = LexborHTMLParser(source)
    removed = 0
    for node in tree.css("img"):
        attributes = node.attributes
        src = (attributes.get("src") or "").strip().lower()
        tiny = sum(1 for name in ("width", "height") if _TINY.match(attributes.get(name) or ""))
        style = attributes.get("style") or ""
        hidden = len(_TINY_STYLE.findall(style)) >= 1 or re.search(r"display\s*:\s*none|visibility\s*:\s*hidden", style, re.IGNORECASE)
        if src.startswith(("http:", "https:", "//")) and (tiny == 2 or (tiny and not attributes.get("alt")) or hidden):
            node.decompose()
            removed += 1
    if not removed:
        return source, 0
    return (tree.body.inner_html if tree.body is not None else None) or "", removed
