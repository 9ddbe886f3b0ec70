"""Which column of a table is which field of a lead: guessed from headings in many languages and from what the cells hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from app.domain.personalisation import variable_name
from app.strings import t

#: Fields a column can be mapped to, besides `custom.<name>` and `` (not imported). `full_name` is cut into first and last.
FIELDS = (
    "email", "first_name", "last_name", "full_name", "company", "title", "linkedin_url", "timezone", "language", "consent_note",
)  # fmt: skip

_WORDS: Mapping[str, str] = {
    "email": "email e mail emailaddress mailaddress mail workemail businessemail primaryemail emailadresse emailadres eposta"
    " epost epostadress"
    " courriel adressemail adresseemail adressecourriel correo correoelectronico direccionemail indirizzoemail posta endereçodeemail"
    " adreselektronik adresemail adresemejla email1 mailadresse epostadresse sähköposti sahkoposti emailcim адреспочты почта"
    " электроннаяпочта имейл メール メールアドレス 邮箱 电子邮件 電子郵件 이메일 ईमेल البريدالإلكتروني אימייל",
    "first_name": "firstname first fname givenname forename vorname prénom prenom nombre nombres primernombre nome primeironome"
    " voornaam fornavn förnamn fornamn etunimi imię imie jméno jmeno ad adı isim keresztnév имя 名 名前 名字 이름 पहलानाम",
    "last_name": "lastname last lname surname familyname nachname familienname nom nomdefamille apellido apellidos cognome"
    " sobrenome"
    " apelido ultimonome achternaam etternavn efternamn efternavn sukunimi nazwisko příjmení prijmeni soyad soyadı vezetéknév"
    " фамилия 姓 성",
    "full_name": "name fullname contact contactname person leadname vollständigername vollername nomcomplet nomprenom nombrecompleto"
    " nombreyapellido nomecompleto nomeecognome nomecognome volledigenaam fulltnavn fulltnamn naam navn namn фио 氏名 姓名 성명 नाम",
    "company": "company companyname organization organisation org account accountname employer business firma unternehmen firmenname"
    " société societe entreprise raisonsociale empresa compañia compania companhia azienda società societa ditta bedrijf bedrijfsnaam"
    " företag foretag virksomhed bedrift yritys przedsiębiorstwo společnost spolecnost şirket sirket cég компания организация"
    " 会社 会社名 公司 회사 कंपनी",
    "title": "title jobtitle job position role headline function funktion stelle jobbezeichnung berufsbezeichnung poste fonction"
    " intituléduposte cargo puesto posición ruolo qualifica posizione functie functietitel stilling titel titteli stanowisko pozice"
    " unvan pozisyon görev beosztás должность 役職 职位 職位 직책",
    "linkedin_url": "linkedin linkedinurl linkedinprofile linkedinprofileurl linkedinlink personlinkedinurl profilurl profileurl"
    " linkedinprofil linkedinaddress perfildelinkedin profillinkedin",
    "timezone": "timezone tz time zone zeitzone fuseauhoraire zonahoraria fusoorario fusohorario tijdzone tidszon saatdilimi часовойпояс",
    "language": "language lang locale sprache langue idioma lingua língua taal språk sprak język jazyk dil язык 言語 语言",
    "consent_note": "consent consentnote legalbasis optin einwilligung consentement consentimiento consenso",
}
#: Columns that our own files add (the list of rows not taken, the export): read again, they are not the person's.
OF_OUR_FILES = frozenset({t("leads.col_line"), t("leads.col_reason"), "bounced_at", "contacted_at", "created_at"})
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]{2,}")
_PROFILE = re.compile(r"(?:https?://)?(?:[a-z]{2,3}\.)?linkedin\.com/", re.IGNORECASE)
_ZONE = re.compile(r"(?:Africa|America|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[A-Za-z_/+-]+")
CUSTOM_NAME = re.compile(r"[^\W\d]\w{0,59}")


def _folded(text: str) -> str:
    """Lower case without accents, spaces and signs: `Prénom ` and `PRENOM` are one word."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in plain if c.isalnum() and not unicodedata.combining(c))


_BY_WORD: dict[str, str] = {_folded(word): field for field, words in _WORDS.items() for word in words.split()}
for _word, _field in (("e", ""), ("zone", ""), ("time", "")):
    _BY_WORD.pop(_word, None)


def custom_name(heading: str) -> str:
    """The variable a column of this heading becomes: `Ice breaker!` → `ice_breaker`; always a valid name."""
    plain = unicodedata.normalize("NFC", heading).removeprefix("custom.")
    name = re.sub(r"\W+", "_", variable_name(plain)).strip("_")[:60]
    if not name:
        return "field"
    return name if CUSTOM_NAME.fullmatch(name) else f"field_{name}"[:60]


def guess_field(heading: str) -> str:
    """The lead's field a heading means in any language we know, or an empty text."""
    return heading if heading in FIELDS else _BY_WORD.get(_folded(heading), "")


def _by_content(values: Sequence[str]) -> str:
    held = [value for value in values if value]
    for field, pattern in (("email", _ADDRESS), ("linkedin_url", _PROFILE), ("timezone", _ZONE)):
        match = pattern.match if field == "linkedin_url" else pattern.fullmatch
        if held and sum(bool(match(value)) for value in held) * 2 > len(held):
            return field
    return ""


def guess_mapping(columns: Sequence[str], sample: Sequence[Sequence[str]]) -> dict[str, str]:
    """Column → field (`email`, `custom.city`, or an empty text) for every column; no field is given twice.

    `sample` are the cells of the first rows. Columns that hold nothing at all are not imported.
    """
    cells = {name: [row[at] for row in sample if at < len(row)] for at, name in enumerate(columns)}
    contents = {name: _by_content(values) for name, values in cells.items()}
    meant = {name: guess_field(name) for name in columns}
    chosen: dict[str, str] = {}
    for name in columns:  # headings first; a heading that says e-mail over cells that hold none is not believed
        field = meant[name]
        lies = field == "email" and any(cells[name]) and not any("@" in cell for cell in cells[name]) and "email" in contents.values()
        if field and not lies and field not in chosen.values():
            chosen[name] = field
    for name in columns:
        field = contents[name]
        if name not in chosen and field and field not in chosen.values():
            chosen[name] = field
    column = {field: name for name, field in chosen.items()}
    if {"full_name", "first_name", "last_name"} <= column.keys():
        del chosen[column["full_name"]]
    elif {"full_name", "first_name"} <= column.keys() and not _repeats(cells[column["full_name"]], cells[column["first_name"]]):
        chosen[column["full_name"]] = "last_name"  # “Vorname, Name”, the usual German table
    taken = set(FIELDS) | {"sender_name", "client_name", "unsubscribe_url"}
    for name in columns:
        if name not in chosen:
            wanted = name not in OF_OUR_FILES and (any(cells[name]) or not sample)
            chosen[name] = _own_field(name, taken) if wanted else ""
    return {name: chosen[name] for name in columns}


def _repeats(whole: Sequence[str], first: Sequence[str]) -> bool:
    """Whether names hold the first name that stands beside them: then they are whole ones."""
    return any(word in name.split() for name, words in zip(whole, first, strict=False) for word in words.split())


def _own_field(heading: str, taken: set[str]) -> str:
    base = name = custom_name(heading)
    number = 2
    while name in taken:
        name, number = f"{base[:56]}_{number}", number + 1
    taken.add(name)
    return f"custom.{name}"


def wrong_mapping(columns: Sequence[str], mapping: Mapping[str, str]) -> dict[str, list[str]]:
    """What is wrong with a mapping, by column; empty when it can be used."""
    wrong: dict[str, list[str]] = {}
    used: dict[str, str] = {}
    for column, field in mapping.items():
        if column not in columns:
            wrong[column] = [t("importing.no_such_column")]
        elif field and field not in FIELDS and not (field.startswith("custom.") and CUSTOM_NAME.fullmatch(field[7:])):
            wrong[column] = [t("importing.no_such_field", name=field[:80], fields=", ".join(FIELDS))]
        elif field and field in used:
            wrong[column] = [t("importing.field_taken", column=used[field])]
        elif field:
            used[field] = column
    if not wrong and "email" not in used:
        wrong["email"] = [t("importing.need_email_column")]
    return wrong
