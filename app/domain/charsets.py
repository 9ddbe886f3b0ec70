"""Bytes of unknown make become text: the declared charset, its aliases, a guess, and at the end latin-1 with a mark."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from charset_normalizer import from_bytes

GUESS_SAMPLE_BYTES = 4096

# Names mail programs write that Python does not know, or knows as something narrower than what was meant.
ALIASES: dict[str, str] = {
    "ascii": "us-ascii", "ansi_x3.4-1968": "us-ascii", "ansi_x3.110-1983": "windows-1252", "iso-8859-1": "windows-1252",
    "iso8859-1": "windows-1252", "iso_8859-1": "windows-1252", "latin1": "windows-1252", "latin-1": "windows-1252",
    "8859_1": "windows-1252", "x-ansi": "windows-1252", "ansi": "windows-1252", "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8", "iso-8859-6-i": "iso-8859-6", "iso-8859-6-e": "iso-8859-6",
    "iso-8859-9": "windows-1254", "iso-8859-11": "cp874", "tis-620": "cp874", "windows-874": "cp874",
    "ks_c_5601-1987": "cp949", "ks_c_5601-1989": "cp949", "euc-kr": "cp949", "ksc5601": "cp949", "korean": "cp949",
    "gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "gb_2312-80": "gb18030", "chinese": "gb18030",
    "hz-gb-2312": "hz", "big5-hkscs": "big5hkscs", "x-x-big5": "big5hkscs", "shift_jis": "cp932", "shift-jis": "cp932",
    "sjis": "cp932", "x-sjis": "cp932", "ms_kanji": "cp932", "windows-31j": "cp932", "iso-2022-jp": "iso2022_jp_ext",
    "cp-850": "cp850", "ibm-850": "cp850", "x-mac-roman": "mac_roman", "macintosh": "mac_roman", "x-mac-cyrillic":
    "mac_cyrillic", "x-cp1250": "cp1250", "x-cp1251": "cp1251", "x-cp1252": "cp1252", "win-1251": "cp1251",
    "koi8": "koi8_r", "utf": "utf-8", "utf8mb4": "utf-8", "unicode-1-1-utf-8": "utf-8", "utf-8-sig": "utf-8",
    "unicode": "utf-16",
}
UNKNOWN = frozenset({"", "x-unknown", "unknown", "unknown-8bit", "8bit", "binary", "default", "user-defined",
                     "x-user-defined"})
# Codecs that run code-like escapes, are slow by design, or hide text from filters.
REFUSED = frozenset({"utf_7", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})
# What a guess may answer: what mail is really written in. Rare code pages only steal from the common ones.
GUESSES = ["utf_8", "cp1252", "cp1251", "koi8_r", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp932",
           "euc_jp", "gb18030", "big5", "cp949", "iso2022_jp", "utf_16", "tis_620"]
_FORBIDDEN = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Decoded:
    text: str
    charset: str
    warning: str | None = None


def storable(text: str) -> str:
    """The text without what a database or UTF-8 cannot hold (NUL, lone surrogates), each replaced by U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)


def codec_for(declared: str) -> str | None:
    """The name of a safe text codec for a declared charset, or None when there is none we would use."""
    name = declared.strip().strip("\"'").lower()[:64]
    if name in UNKNOWN or not name.isascii():
        return None
    name = ALIASES.get(name, name)
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if info.name.replace("-", "_") in REFUSED or not getattr(info, "_is_text_encoding", True):
        return None
    return info.name


def decode(data: bytes, declared: str | None = None, *, guess: bool = True) -> Decoded:
    """Text of `data`. Never fails; `warning` says when the declared charset was not what the bytes were."""
    name = codec_for(declared) if declared else None
    if name in (None, "ascii") or name == "utf-8":
        text = _strict(data, "utf-8")
        if text is not None:
            unusable = declared and name is None and not data.isascii()
            warning = f"charset {str(declared)[:60]!r} not usable" if unusable else None
            return Decoded(storable(text.removeprefix("\ufeff")), "utf-8", warning)
    elif name is not None:
        text = _strict(data, name)
        if text is not None:
            return Decoded(storable(text.removeprefix("\ufeff")), name)
        text = _strict(data, "utf-8")
        if text is not None:
            return Decoded(storable(text), "utf-8", f"charset {str(declared)[:60]!r} was wrong")
    return _mostly(data, name) or (_guess(data) if guess else None) or _last_resort(data)


def _strict(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except (UnicodeError, LookupError, ValueError, OverflowError):
        return None


def _mostly(data: bytes, name: str | None) -> Decoded | None:
    """The declared charset with its broken bytes marked, when they are few: a cut character is not another charset."""
    if name is None or name == "ascii":
        return None
    try:
        text = data.decode(name, "replace")
    except (UnicodeError, LookupError, ValueError, OverflowError):
        return None
    if text.count("\ufffd") * 200 > len(text) + 199:
        return None
    return Decoded(storable(text), name, "broken characters replaced")


def _guess(data: bytes) -> Decoded | None:
    high = next((i for i, byte in enumerate(data[:200_000]) if byte > 127), 0)
    sample = data[max(0, high - 256):][:GUESS_SAMPLE_BYTES]
    try:
        best = from_bytes(sample, steps=3, chunk_size=512, cp_isolation=GUESSES, preemptive_behaviour=False).best()
    except Exception:
        return None
    if best is None or best.encoding.replace("-", "_") in REFUSED:
        return None
    text = _strict(data, best.encoding)
    return None if text is None else Decoded(storable(text), best.encoding, f"charset guessed: {best.encoding}")


def _last_resort(data: bytes) -> Decoded:
    text = _strict(data, "cp1252")
    if text is not None:
        return Decoded(storable(text), "windows-1252", "charset unknown, read as windows-1252")
    return Decoded(storable(data.decode("latin-1")), "latin-1", "charset unknown, read as latin-1")
