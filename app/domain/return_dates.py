# ruff: noqa: E501 - tables of phrases read better unwrapped
"""When somebody who is away says to be back: dates as people write them, in the languages of the notices."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from app.domain.working_time import Calendar, DelayUnit, add_delay, day_start, local_date, next_open

MAX_TEXT = 4000
LONGEST_ABSENCE = timedelta(days=400)

# One line per month: every name and abbreviation we meet, without accents, longest first at match time.
_MONTH_LINES = (
    "january januar jan janvier janv enero ene gennaio gen janeiro januari januarie tammikuuta tammikuu stycznia styczen leden ledna januara januar "
    "ianuarie января янв январь січня ocak januari ιανουαριου януари januára sijecnja",
    "february februar feb fevrier fev febrero febbraio fevereiro februari helmikuuta lutego luty unor unora februara februarie февраля фев февраль лютого subat "
    "φεβρουαριου veljace",
    "march marz maerz mar mars marzo marco maart maaliskuuta marca marzec brezen brezna martie марта март березня mart μαρτιου ozujka marcius",
    "april avril avr abril abr aprile apr huhtikuuta kwietnia kwiecien duben dubna aprila aprilie апреля апр апрель квітня nisan απριλιου travnja aprilis",
    "may mai mayo maggio mag maio mei maj toukokuuta maja kveten kvetna мая май травня mayis μαιου svibnja majus",
    "june juni jun juin junio giugno giu junho kesakuuta czerwca czerwiec cerven cervna juna iunie июня июн июнь червня haziran ιουνιου lipnja junius",
    "july juli jul juillet juil julio luglio lug julho heinakuuta lipca lipiec cervenec cervence jula iulie июля июл июль липня temmuz ιουλιου srpnja julius",
    "august aug aout agosto ago augustus elokuuta sierpnia sierpien srpen srpna augusta augusti августа авг август серпня agustos αυγουστου kolovoza augusztus",
    "september sep sept septembre septiembre settembre set setembro syyskuuta wrzesnia wrzesien zari septembra septembrie сентября сен сентябрь вересня eylul "
    "σεπτεμβριου rujna szeptember",
    "october oktober oct okt octobre octubre ottobre ott outubro out lokakuuta pazdziernika pazdziernik rijen rijna oktobra octombrie октября окт октябрь жовтня ekim "
    "οκτωβριου listopada",
    "november nov novembre noviembre novembro marraskuuta listopada listopad listopadu novembra noiembrie ноября ноя ноябрь листопада kasim νοεμβριου studenoga",
    "december dezember dec dez decembre diciembre dicembre dic dezembro joulukuuta grudnia grudzien prosinec prosince decembra decembrie декабря дек декабрь грудня aralik "
    "δεκεμβριου prosinca",
)
_MONTHS: dict[str, int] = {}
for _number, _line in enumerate(_MONTH_LINES, 1):
    for _name in _line.split():
        _MONTHS.setdefault(unicodedata.normalize("NFC", _name), _number)
_MONTHS["listopada"] = 11  # Polish; Croatian October writes the same word
_NAMES = "|".join(sorted(map(re.escape, _MONTHS), key=len, reverse=True))

_WEEKDAYS: dict[str, int] = {}
for _number, _line in enumerate((
        "monday montag lundi lunes lunedi segunda-feira segunda maandag mandag maanantaina poniedzialek poniedzialku pondeli pondelok hetfon luni понедельник понедельника "
        "понеділок понеділка pazartesi δευτερα 月曜 周一 星期一 월요일",
        "tuesday dienstag mardi martes martedi terca-feira dinsdag tisdag tirsdag tiistaina wtorek wtorku utery utorok kedden marti вторник вторника вівторок sali τριτη 火曜 周二 星期二 화요일",
        "wednesday mittwoch mercredi miercoles mercoledi quarta-feira woensdag onsdag keskiviikkona sroda srode srody streda stredu szerdan miercuri среду среда среды середу carsamba "
        "τεταρτη 水曜 周三 星期三 수요일",
        "thursday donnerstag jeudi jueves giovedi quinta-feira donderdag torsdag torstaina czwartek czwartku ctvrtek stvrtok csutortokon joi четверг четверга четвер persembe πεμπτη 木曜 "
        "周四 星期四 목요일",
        "friday freitag vendredi viernes venerdi sexta-feira vrijdag fredag perjantaina piatek piatku patek piatok penteken vineri пятницу пятница пятницы п'ятницю cuma παρασκευη 金曜 周五 "
        "星期五 금요일",
        "saturday samstag samedi sabado sabato zaterdag lordag lauantaina sobota sobote субботу суббота cumartesi 土曜 周六 토요일",
        "sunday sonntag dimanche domingo domenica zondag sondag sunnuntaina niedziela niedziele nedele воскресенье pazar 日曜 周日 일요일")):
    for _name in _line.split():
        _WEEKDAYS[unicodedata.normalize("NFC", _name)] = _number
_WEEKDAY = re.compile(r"(?<!\w)(" + "|".join(sorted(map(re.escape, _WEEKDAYS), key=len, reverse=True)) + r")(?!\w*\d)")
_TOMORROW = re.compile(r"\b(?:tomorrow|morgen wieder|ab morgen|demain|manana|domani|amanha|i morgon|i morgen|huomenna|jutro|zitra|завтра|yarin)\b|明日|明天|내일")

_ISO = re.compile(r"(?<!\d)(20\d\d)[-./](\d{1,2})[-./](\d{1,2})(?!\d)")
_CJK = re.compile(r"(?:(20\d\d)\s?[年년]\s?)?(\d{1,2})\s?[月월]\s?(\d{1,2})\s?[日号號일]")
_NUMERIC = re.compile(r"(?<![\d.,/:-])(\d{1,2})([./-])\s?(\d{1,2})(?:\2\s?(20\d\d|\d\d)(?!\d)|\.?(?![\d:/]))")
_DAY_MONTH = re.compile(rf"(?<![\d:])(\d{{1,2}})(?:st|nd|rd|th|er|\.|º|ª|°)?(?:[\s,]{{0,3}}|-)(?:of |de |del |d')?({_NAMES})\b\.?(?:[\s,]{{0,3}}(?:de |del |of )?(20\d\d))?")
_MONTH_DAY = re.compile(rf"\b({_NAMES})\b\.?\s{{0,3}}(\d{{1,2}})(?:st|nd|rd|th|\.|-(?:an|en|a|e|ig))?(?![\d:])(?:[\s,]{{1,3}}(20\d\d))?")

_MONTH_YEAR = re.compile(rf"(?<!\d)(?<!\d[ .])\b({_NAMES})\b\.?\s(?:de |of )?(20\d\d)")

_CUE = re.compile(
    r"\b(?:until|till|til|through|thru|to|return\w*|back|again|as of|"
    r"bis|wieder|zuruck|ab dem|ab|jusqu\w*|retour|reviens|reprise|hasta|vuelv\w+|regres\w+|volver\w*|fino|rientr\w+|torn\w+|al|ate|volt\w+|retorn\w+|regresso|"
    r"tot|t/m|terug|weer|tom|t\.o\.m|till och med|tillbaka|ater|ater pa|til og med|tilbage|tilbake|igen|asti|saakka|palaan|takaisin|"
    r"do|dnia|wracam|powrot\w*|wroce|opet|zpet|vratim|navrat\w*|od|ig|vissza\w*|pana|revin|inapoi|до|по|вернусь|выхо\w+|возвращ\w+|з|с|повернусь|"
    r"kadar|donecegim|tarihine|εως|μεχρι|επιστρ\w+|hingga|sampai|kembali)\b|まで|から|戻|至|到|返回|回来|까지|복귀|부터|before")


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.replace("ı", "i").replace("ł", "l").replace("Ł", "l").replace("ø", "o").replace("Ø", "o").casefold())
    return unicodedata.normalize("NFC", "".join(ch for ch in text if not "\u0300" <= ch <= "\u036f"))


def find_return_date(text: str, today: date) -> date | None:
    """The latest date in the text that a word of returning stands before; else the latest date at all.

    Only days from today to 400 days ahead count. A date without a year is the next one. `today` is the day of arrival."""
    plain = _plain(text[:MAX_TEXT])
    cued: list[date] = []
    others: list[date] = []
    for at, end, day in _dates(plain, today):
        if today <= day <= today + LONGEST_ABSENCE:
            near = plain[max(0, at - 45):at] + "|" + plain[end:end + 12]
            (cued if _CUE.search(near) else others).append(day)
    if cued or others:
        return max(cued) if cued else max(others)
    return _relative(plain, today)


def held_until(calendar: Calendar, named: date, key: int | str | None = None) -> datetime:
    """Until when somebody is left alone whose notice names this date; ``key``: the enrollment, for reduced weekends.

    Notices name the last day away or the first day back and seldom say which. So who is away over a Saturday or Sunday comes back
    on the first working day from the date on, whichever of the three days is named, and gets that day for themselves: the hold
    ends with the working day after it (of the campaign's calendar), at its opening. Where that never opens: a day after the date.
    """
    start = day_start(calendar.zone, named)
    back = next_open(calendar, start, key)
    if back is None:
        return start + timedelta(days=1)
    return add_delay(calendar, day_start(calendar.zone, local_date(calendar.zone, back)), 1, DelayUnit.WORKING_DAYS, key) or back + timedelta(days=1)


def _relative(plain: str, today: date) -> date | None:
    """"Back on Monday", "tomorrow": only near a word of returning."""
    for match in _WEEKDAY.finditer(plain):
        if _CUE.search(plain[max(0, match.start() - 45):match.start()] + "|" + plain[match.end():match.end() + 20]):
            return today + timedelta(days=(_WEEKDAYS[match[1]] - today.weekday() - 1) % 7 + 1)
    return today + timedelta(days=1) if _TOMORROW.search(plain) else None


def _dates(plain: str, today: date) -> Iterator[tuple[int, int, date]]:
    for match in _ISO.finditer(plain):
        yield from _made(match, today, match[1], match[2], match[3])
    for match in _CJK.finditer(plain):
        yield from _made(match, today, match[1], match[2], match[3])
    for match in _DAY_MONTH.finditer(plain):
        yield from _made(match, today, match[3], str(_MONTHS[match[2]]), match[1])
    for match in _MONTH_DAY.finditer(plain):
        yield from _made(match, today, match[3], str(_MONTHS[match[1]]), match[2])
    for match in _MONTH_YEAR.finditer(plain):  # "until March 2027"
        yield from _made(match, today, match[2], str(_MONTHS[match[1]]), "1")
    blanked = _ISO.sub(lambda m: " " * len(m[0]), plain)
    for match in _NUMERIC.finditer(blanked):
        yield from _numeric(match, today)


def _numeric(match: re.Match[str], today: date) -> Iterator[tuple[int, int, date]]:
    first, second, year = match[1], match[3], match[4]
    if match[2] != "." and not year and match[2] == "-":
        return  # "10-12" is a span of days or hours more often than a date
    european = list(_made(match, today, year, second, first))
    american = list(_made(match, today, year, first, second)) if match[2] == "/" else []
    if european and american:
        # 04/05 can be both: the one that comes sooner after the notice is the likelier return
        ahead = [found for found in (*european, *american) if found[2] >= today]
        yield min(ahead or european, key=lambda found: found[2])
    else:
        yield from european or american


def _made(match: re.Match[str], today: date, year: str | None, month: str, day: str) -> Iterator[tuple[int, int, date]]:
    try:
        number = int(year) if year else today.year
        found = date(number + 2000 if number < 100 else number, int(month), int(day))
        if not year and found < today - timedelta(days=120):  # a beginning a few weeks ago stays where it is
            found = found.replace(year=found.year + 1)
    except ValueError:
        return
    yield match.start(), match.end(), found
