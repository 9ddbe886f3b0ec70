"""What a person actually wrote: the visible part of an answer, with everything hidden kept in order.

`visible` and the hidden parts together are always the whole text: a view over it, never a loss."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from html import escape

from selectolax.lexbor import LexborHTMLParser, LexborNode

QUOTING_VERSION = 1
MAX_LINES = 20_000
MAX_FOLDS = 200
_OPEN, _CLOSE = "\ue0f0fold\ue0f1", "\ue0f0dlof\ue0f1"


class PartKind(StrEnum):
    VISIBLE = "visible"
    INTRODUCTION = "introduction"  # "On Monday Anna wrote:"
    QUOTED = "quoted"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class TextPart:
    kind: PartKind
    text: str


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The parts in their order; joined without separator they are the text as it came."""

    parts: tuple[TextPart, ...]

    @property
    def visible(self) -> str:
        """What the sender wrote, without blank edges; pieces between quotes stay in order."""
        pieces = [part.text.strip("\r\n") for part in self.parts if part.kind is PartKind.VISIBLE]
        return "\n\n".join(piece for piece in pieces if piece.strip()).strip()

    @property
    def hidden(self) -> tuple[TextPart, ...]:
        return tuple(part for part in self.parts if part.kind is not PartKind.VISIBLE)

    @property
    def whole(self) -> str:
        return "".join(part.text for part in self.parts)


_WROTE = (
    r"wrote|writes|schrieb(?:en)?|geschrieben|schreef|a écrit|a ecrit|écrivait|escribió|escribio|ha scritto|escreveu|"
    r"написал(?:а|\(а\))?|пишет|писал(?:а)?|napisał(?:\(a\)|a)?|pisze|skrev|skrifaði|kirjoitti|napsal(?:\(a\)|a)?|napísal(?:a)?|"
    r"a scris|írta|yazdı|şunu yazdı|šo rakstīja|rašė|kirjutas|έγραψε|написав(?:ла)?|написа|je napisal|je napisao|viết|đã viết|"
    r"menulis|wrote on|のメール|写道|寫道|作成|님이 작성|כתב(?:ה)?|مكتوب|كتب")
_INTRO_END = re.compile(rf"(?:{_WROTE})[^\n]{{0,60}}[:：]\s*$", re.IGNORECASE)
_INTRO_ALT = re.compile(
    r"^\s*(?:(?:am|on|le|el|il|em|den|op|dne|dnia|w dniu|в|вт|пн|ср|чт|пт|сб|вс|pe|ke|ti|ma|date)\b|\d{4}\s?[-/年.년])[^\n]{0,200}\d"
    r"[^\n]{0,200}@[^\n]{0,100}>?\s*[:：]\s*$", re.IGNORECASE)
#: "Quoting Ann <ann@company.com>:", in any language; counts only right above a quote.
_NAMED = re.compile(r"<[^\s<>@]{1,64}@[^\s<>@]{1,255}>(?: \[[^\]\n]{0,60}\])?\s*[:：]\s*$")
_INTRO_START = re.compile(
    r"^\s*(?:on|am|le|el|il|em|op|den|d\.|dne|dnia|w dniu|v|в|на|pe|a|\d{4}[-/年.]|\d{1,2}[./-]|mon|tue|wed|thu|fri|sat|sun|"
    r"пн|вт|ср|чт|пт|сб|вс|lun|mar|mer|gio|ven|sab|dom|τη|στις|vào|pada|ב)", re.IGNORECASE)
_ORIGINAL = re.compile(
    r"^[\s*_]*-{2,}\s*(?:original message|original appointment|forwarded message|reply message|ursprüngliche nachricht|"
    r"ursprungliche nachricht|original-?nachricht|weitergeleitete nachricht|message d'origine|message original|message transféré|"
    r"mensaje original|mensaje reenviado|messaggio originale|messaggio inoltrato|mensagem original|mensagem encaminhada|"
    r"oorspronkelijk bericht|doorgestuurd bericht|oprindelig meddelelse|ursprungligt meddelande|opprinnelig melding|"
    r"alkuperäinen viesti|wiadomość oryginalna|wiadomość przekazana|původní zpráva|původní e-mail|pôvodná správa|eredeti üzenet|"
    r"исходное сообщение|пересылаемое сообщение|пересланное сообщение|оригинальное сообщение|оригінальне повідомлення|"
    r"özgün ileti|orijinal mesaj|mesaj original|元のメッセージ|転送メッセージ|原始邮件|邮件原件|原始郵件|원본 메시지|"
    r"הודעה מקורית|الرسالة الأصلية|on\b[^\n]{0,200}\bwrote)\s*-{2,}[\s*_]*$|^\s*(?:begin forwarded message|anfang der weitergeleiteten nachricht|"
    r"début du message (?:réexpédié|transféré)|inicio del mensaje reenviado)\s*:\s*$", re.IGNORECASE)
_FROM = (r"from|von|de|da|van|från|fra|lähettäjä|od|от|відправник|від|kimden|gönderen|feladó|expéditeur|remitente|"
         r"差出人|发件人|寄件者|보낸 ?사람|מאת|من|από|de la|nuo|no|saatja|dari|từ")
_SENT = (r"sent|date|gesendet|datum|envoyé|enviado(?: el| em)?|fecha|data|inviato|verzonden|skickat|sendt|dato|lähetetty|"
         r"päivämäärä|wysłano|odesláno|odoslané|отправлено|дата|надіслано|gönderildi|tarih|küldve|dátum|送信日時|日付|日時|"
         r"发送时间|日期|寄件日期|보낸 ?날짜|날짜|נשלח|תאריך|التاريخ|تم الإرسال|ημερομηνία|στάλθηκε|trimis|dikirim|đã gửi|ngày")
_SUBJECT = (r"to|an|à|para|a|aan|till|til|vastaanottaja|do|komu|pro|кому|kime|címzett|宛先|收件人|받는 ?사람|אל|إلى|προς|către|"
            r"subject|betreff|objet|asunto|oggetto|assunto|onderwerp|ämne|emne|aihe|temat|předmět|predmet|тема|konu|tárgy|"
            r"件名|主题|主旨|제목|נושא|الموضوع|θέμα|subiect|cc|kopie|subjek|chủ đề")
_HEAD_FROM = re.compile(rf"^[\s*>|]{{0,8}}(?:{_FROM})[\s*]{{0,3}}[:：][\s*]*\S", re.IGNORECASE)
_HEAD_SENT = re.compile(rf"^[\s*>|]{{0,8}}(?:{_SENT})[\s*]{{0,3}}[:：][\s*]*\S", re.IGNORECASE)
_HEAD_OTHER = re.compile(rf"^[\s*>|]{{0,8}}(?:{_SUBJECT})[\s*]{{0,3}}[:：]", re.IGNORECASE)
_RULE = re.compile(r"^\s*[_*=-]{10,}\s*$")
_SENT_WITH = re.compile(
    r"^\s*(?:sent from (?:my|mail for|yahoo|outlook|proton|samsung)|sent with|get outlook for|von meinem? .{1,40}(?:gesendet|gesandt)|"
    r"gesendet (?:mit|von|über|aus)|diese nachricht wurde von meinem|envoyé (?:de|depuis|à partir)|enviado (?:desde|do|a partir|de)|"
    r"inviato (?:da|dal)|verzonden (?:vanaf|met|via)|skickat från|sendt fra|lähetetty|wysłano z|wysłane z|odesláno z|odoslané z|"
    r"отправлено (?:с|из|со)|надіслано (?:з|із)|elküldve|iphone ?から送信|iphoneから|从我的 ?iphone|發自我的|发自我的|나의 iphone에서|"
    r"iphone'?umdan gönderildi|trimis de pe|נשלח מה)", re.IGNORECASE)


def split_reply(text: str) -> ReplyText:
    """Cut a plain text into what was written and what was quoted, introduced or appended as signature."""
    lines = text.splitlines(keepends=True)
    kinds = _line_kinds([line.rstrip("\r\n") for line in lines[:MAX_LINES]])
    kinds += [PartKind.QUOTED] * (len(lines) - len(kinds))
    written = any(kind is PartKind.VISIBLE and line.strip() for kind, line in zip(kinds, lines, strict=True))
    if not written:  # a mail that would show nothing shows everything: better too much than a lost answer
        kinds = [PartKind.VISIBLE] * len(lines)
    parts: list[TextPart] = []
    start = 0
    for index in range(1, len(lines) + 1):
        if index == len(lines) or kinds[index] is not kinds[start]:
            parts.append(TextPart(kinds[start], "".join(lines[start:index])))
            start = index
    return ReplyText(tuple(parts))


def _line_kinds(lines: list[str]) -> list[PartKind]:
    kinds = [PartKind.QUOTED if line.lstrip()[:1] == ">" else PartKind.VISIBLE for line in lines]
    cut = len(lines)
    for index, line in enumerate(lines):
        if kinds[index] is not PartKind.VISIBLE or not line.strip():
            continue
        if _ORIGINAL.match(line) or _header_block(lines, index):
            cut = index - 1 if index and _RULE.match(lines[index - 1]) else index
            break
        length = _introduction(lines, index)
        if length:
            kinds[index:index + length] = [PartKind.INTRODUCTION] * length
            if not _quote_follows(lines, index + length):
                cut = index + length
                break
    for index in range(cut, len(lines)):
        kinds[index] = PartKind.QUOTED
    _mark_signature(lines, kinds, cut)
    return kinds


def _introduction(lines: list[str], index: int) -> int:
    """How many lines an introduction such as "On … wrote:" takes from here (0 = none). Clients wrap it up to four lines."""
    joined = ""
    for length in range(1, 5):
        if index + length > len(lines) or len(joined) > 400:
            return 0
        line = lines[index + length - 1]
        if length > 1 and (not line.strip() or line.lstrip()[:1] == ">"):
            return 0
        joined = f"{joined} {line.strip()}" if joined else line.strip()
        if line.rstrip()[-1:] not in (":", "："):
            continue
        has_mark = "@" in joined or any(ch.isdigit() for ch in joined)
        named = length == 1 and _NAMED.search(joined) is not None and _quote_follows(lines, index + 1)
        if named or _INTRO_ALT.match(joined) or (_INTRO_END.search(joined) and has_mark and (
                _INTRO_START.match(joined) or "@" in joined or _quote_follows(lines, index + length))):
            return length
    return 0


def _quote_follows(lines: list[str], index: int) -> bool:
    """Whether the next line with content is quoted with ">"; then single lines decide, and answers in between stay."""
    for line in lines[index:index + 4]:
        if line.strip():
            return line.lstrip()[0] == ">"
    return False


def _header_block(lines: list[str], index: int) -> bool:
    """A block "From: … Sent: … To: … Subject: …" in any of our languages, as Outlook and others put above a quote."""
    if not _HEAD_FROM.match(lines[index]):
        return False
    near = [line for line in lines[index + 1:index + 8] if line.strip()][:5]
    dated = any(_HEAD_SENT.match(line) for line in near)
    others = sum(1 for line in near if _HEAD_OTHER.match(line))
    return (dated and others >= 1) or (others >= 2 and "@" in "".join([lines[index], *near]))


def _mark_signature(lines: list[str], kinds: list[PartKind], cut: int) -> None:
    for index in range(min(cut, len(lines))):
        if kinds[index] is not PartKind.VISIBLE:
            continue
        line = lines[index]
        dashes = line in ("-- ", "--", "—", "––") or line.rstrip() in ("--", "__")
        rule = _RULE.match(line) is not None and index > 0 and not any(
            kinds[i] is PartKind.VISIBLE and lines[i].strip() for i in range(index + 1, cut))
        if not (dashes or rule or (_SENT_WITH.match(line) and len(line) < 120)):
            continue
        end = index
        while end < cut and kinds[end] is PartKind.VISIBLE:
            end += 1
        kinds[index:end] = [PartKind.SIGNATURE] * (end - index)


def snippet(visible: str, length: int = 140) -> str:
    """One line for a list: white space folded, cut at a word, "…" where something is missing."""
    line = " ".join(visible[:length * 8].split())
    if len(line) <= length:
        return line
    cut = line[:length - 1]
    whole = line[length - 1] == " " or " " not in cut[length // 2:]
    return (cut if whole else cut.rsplit(" ", 1)[0]).rstrip(" ,;:.") + "…"


_FOLD_SELECTORS = ("div.gmail_quote", "div.gmail_quote_container", "div.yahoo_quoted", "div.moz-forward-container",
                   "div.protonmail_quote", "div.tutanota_quote", "div.zmail_extra", "blockquote")
_REST_SELECTORS = ("#divRplyFwdMsg", "#appendonsend", "#reply-intro", "#OLK_SRC_BODY_SECTION", "#mail-editor-reference-message-container",
                   "div[style*='border-top:solid #E1E1E1']", "div[style*='border-top:solid #B5C4DF']",
                   "div[style*='border-top: 1pt solid']", "a[name='_MailOriginal']")


_HAS_QUOTE = re.compile(r"quote|divRplyFwdMsg|appendonsend|border-top|MailOriginal|OLK_SRC|reference-message|reply-intro|zmail_extra|"
                        r"moz-forward-container", re.IGNORECASE)


def fold_quoted_html(source: str, label: str = "•••") -> str:
    """Wrap quoted blocks in <details>, which fold without scripts. To be sanitised afterwards, like every HTML mail.

    `label` is the text of the fold's handle. The order and content of the mail stay as they are."""
    if len(source) > 2_000_000 or not _HAS_QUOTE.search(source):
        return source
    tree = LexborHTMLParser(source.replace("\ue0f0", "").replace("\ue0f1", ""))
    folded: set[int] = set()
    for selector in _FOLD_SELECTORS:
        for node in tree.css(selector)[:MAX_FOLDS]:
            if node.mem_id not in folded and not _inside(node, folded) and not _has_answers(node):
                _wrap(node, node, folded)
    for selector in _REST_SELECTORS:
        found = tree.css_first(selector)
        if found is not None and not _inside(found, folded) and found.mem_id not in folded:
            _wrap_rest(found, folded)
            break
    body = tree.body
    marked = (body.inner_html if body is not None else None) or ""
    handle = f"<details><summary>{escape(label)}</summary>"
    return marked.replace(_OPEN, handle).replace(_CLOSE, "</details>")


def _inside(node: LexborNode, folded: set[int]) -> bool:
    parent = node.parent
    for _ in range(500):
        if parent is None:
            return False
        if parent.mem_id in folded:
            return True
        parent = parent.parent
    return True


def _has_answers(node: LexborNode) -> bool:
    """A quote container in which somebody answered between the quotes must stay open; its blockquotes fold alone."""
    if node.tag == "blockquote":
        return False
    quotes = node.css("blockquote")
    return bool(quotes) and _text_after(node, quotes[0])


def _text_after(container: LexborNode, first: LexborNode) -> bool:
    node: LexborNode | None = first
    while node is not None and node.mem_id != container.mem_id:
        sibling = node.next
        while sibling is not None:
            if sibling.tag != "blockquote" and (sibling.text(deep=True) or "").strip():
                return True
            sibling = sibling.next
        node = node.parent
    return False


def _wrap(first: LexborNode, last: LexborNode, folded: set[int]) -> None:
    folded.add(first.mem_id)
    first.insert_before(_OPEN)
    last.insert_after(_CLOSE)


def _wrap_rest(node: LexborNode, folded: set[int]) -> None:
    """From here to the end of the parent is the mail answered to. Climb while nothing but wrappers stand before."""
    for _ in range(20):
        parent = node.parent
        if parent is None or parent.tag in ("body", "html") or _text_before(node):
            break
        node = parent
    last = node
    while last.next is not None:
        last = last.next
    _wrap(node, last, folded)


def _text_before(node: LexborNode) -> bool:
    before = node.prev
    while before is not None:
        if (before.text(deep=True) or "").strip():
            return True
        before = before.prev
    return False
