"""Tables as people save them, headings in their languages, and values no field of a lead may hold."""

from __future__ import annotations

import io
import random
import time
import zipfile

import pytest

from app.domain.column_mapping import custom_name, guess_mapping, wrong_mapping
from app.domain.csv_reading import UnreadableFile, decode, read_csv
from app.domain.lead_values import BadValue, lead_values, linkedin_profile, split_name
from app.domain.xlsx_reading import read_table


def cells(text: str | bytes) -> list[tuple[str, ...]]:
    return [row.cells for row in read_csv(text.encode() if isinstance(text, str) else text).rows]


def test_each_separator_is_found_even_when_another_stands_in_the_cells() -> None:
    for separator in ",;\t|":
        lines = [["email", "note", "city"], ["a@x.com", '"one, two; three"', "Porto"], ["b@x.com", "plain", "Lisbon"]]
        text = "\n".join(separator.join(line) for line in lines)
        assert cells(text) == [("a@x.com", "one, two; three", "Porto"), ("b@x.com", "plain", "Lisbon")], separator


def test_excels_habits_are_understood() -> None:
    text = 'sep=;\r\nemail;zip;note;;\r\na@x.com;="01234";"first\r\nsecond";;\r\n;;;;\r\nb@x.com\r\n'
    table = read_csv(text.encode())
    assert table.columns == ("email", "zip", "note")
    assert [(row.line, row.cells) for row in table.rows] == [(3, ("a@x.com", "01234", "first\r\nsecond")), (6, ("b@x.com", "", ""))]


def test_a_quotation_mark_that_is_never_closed_costs_one_row() -> None:
    text = "email,note\na@x.com,fine\n" + 'b@x.com,"oops\n' + "".join(f"p{n}@x.com,n\n" for n in range(80))
    rows = list(read_csv(text.encode()).rows)
    assert [row.line for row in rows if row.fault] == [3]
    assert len(rows) == 82 and rows[-1].cells == ("p79@x.com", "n")


def test_a_file_full_of_open_quotation_marks_is_refused_in_reasonable_time() -> None:
    block = 'a@x.com,"opened\n' + "b@x.com,c\n" * 70
    began = time.monotonic()
    with pytest.raises(UnreadableFile, match="never closed"):
        list(read_csv(("email,note\n" + block * 600).encode()).rows)
    assert time.monotonic() - began < 20


def test_encodings_are_told_apart_without_a_word() -> None:
    text = "email,prénom\nada@x.com,Zoë\n"
    for name in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"):
        assert decode(text.encode(name))[0] == text, name
    assert "\x81" in decode(b"caf\xe9 \x81")[0]


def test_a_file_without_a_heading_is_read_from_its_first_row() -> None:
    table = read_csv(b"ada@x.com,Ada\ngrace@x.com,Grace\n")
    assert table.columns == ("Column 1", "Column 2") and len(list(table.rows)) == 2


def test_a_file_that_only_calls_itself_a_table_is_refused_before_anybody_maps_its_columns() -> None:
    noise = random.Random(7).randbytes(6_000)
    for data in (noise, b"email,first_name\n" + noise, b"\x7fELF" + bytes(range(256)) * 9):
        with pytest.raises(UnreadableFile, match="not a table"):
            read_table(data)
    few_wrong_bytes = "email,first_name\nada@a.test,Ad\x81a\n".encode("latin-1") + b"bo@a.test,Bo\n" * 30
    assert len(list(read_table(few_wrong_bytes).rows)) == 31


@pytest.mark.parametrize("data", [b"email,first_name\r\n", b"email,first_name\n,\n  ,\n", b"\n\n"])
def test_a_file_that_holds_nobody_says_so(data: bytes) -> None:
    with pytest.raises(UnreadableFile, match=r"no rows|is empty"):
        read_table(data)


def test_headings_become_unique_names() -> None:
    assert read_csv(b"email,Note,,Note\na@x.com,1,2,3\n").columns == ("email", "Note", "Column 3", "Note (2)")


@pytest.mark.parametrize(
    ("heading", "fields"),
    [
        ("E-Mail;Vorname;Nachname;Firma;Position", "email first_name last_name company title"),
        ("Adresse e-mail;Prénom;Nom de famille;Société;Poste", "email first_name last_name company title"),
        ("Correo electrónico;Nombre;Apellidos;Empresa;Cargo", "email first_name last_name company title"),
        ("Email;Nome;Cognome;Azienda;Ruolo", "email first_name last_name company title"),
        ("E-mail;Nome;Sobrenome;Empresa;Cargo", "email first_name last_name company title"),
        ("E-mailadres;Voornaam;Achternaam;Bedrijf;Functie", "email first_name last_name company title"),
        ("Электронная почта;Имя;Фамилия;Компания;Должность", "email first_name last_name company title"),
        ("メールアドレス;名;姓;会社名;役職", "email first_name last_name company title"),
        ("Work Email;First Name;Last Name;Company Name;Job Title", "email first_name last_name company title"),
    ],
)
def test_headings_are_known_in_many_languages(heading: str, fields: str) -> None:
    columns = heading.split(";")
    assert list(guess_mapping(columns, [["a@x.com", "A", "B", "C", "D"]]).values()) == fields.split()


def test_what_the_cells_hold_wins_over_a_heading_that_lies_and_the_rest_becomes_own_fields() -> None:
    columns = ["Email", "Contact 2", "Ice breaker!", "Empty"]
    found = guess_mapping(columns, [["yes", "ada@x.com", "hello", ""], ["no", "grace@x.com", "", ""]])
    assert found == {"Email": "custom.email_2", "Contact 2": "email", "Ice breaker!": "custom.ice_breaker", "Empty": ""}
    assert [custom_name(name) for name in ("2nd try", "!!", "Größe in cm")] == ["field_2nd_try", "field", "größe_in_cm"]


def test_an_address_beside_its_name_is_one_and_no_column_of_other_peoples_addresses_takes_its_place() -> None:
    columns = ["Name", "E-mail", "Assistant"]
    found = guess_mapping(columns, [["Ada Moss", "Ada Moss <ada@x.com>", ""], ["Bob Ray", "mailto:bob@x.com", "eve@x.com"]])
    assert (found["E-mail"], found["Assistant"]) == ("email", "custom.assistant")


def test_a_name_beside_a_first_name_is_the_last_one() -> None:
    rows = [["zoe@x.com", "Zoe", "Mueller"]]
    assert guess_mapping(["E-Mail", "Vorname", "Name"], rows) == {"E-Mail": "email", "Vorname": "first_name", "Name": "last_name"}
    found = guess_mapping(["Name", "Vorname", "Nachname", "E-Mail"], [["Zoe Mueller", "Zoe", "Mueller", "zoe@x.com"]])
    assert list(found.values()) == ["custom.name", "first_name", "last_name", "email"]
    found = guess_mapping(["Name", "First name", "E-Mail"], [["Zoe Mueller", "Zoe", "zoe@x.com"]])
    assert list(found.values()) == ["full_name", "first_name", "email"], "a whole name is not somebody's last one"


def test_what_our_own_files_add_is_not_taken_for_the_persons() -> None:
    from app.strings import t

    columns = [t("leads.col_line"), t("leads.col_reason"), "email", "custom.city", "created_at"]
    found = guess_mapping(columns, [["7", "no address", "ada@x.com", "Porto", "2026-11-23"]])
    assert list(found.values()) == ["", "", "email", "custom.city", ""]


def test_a_mapping_names_real_columns_real_fields_and_an_address() -> None:
    assert wrong_mapping(["a", "b"], {"a": "email", "b": "custom.x"}) == {}
    for mapping in ({"a": "email", "b": "email"}, {"a": "email", "z": ""}, {"a": "email", "b": "custom.{{x}}"}, {"b": "company"}):
        assert wrong_mapping(["a", "b"], mapping)


def bomb(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        bomb("xl/worksheets/sheet1.xml", b"0" * 60_000_000),
        bomb("xl/workbook.xml", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'),
        bomb("word/document.xml", b"<w/>"),
    ],
)
def test_workbooks_that_are_none_or_grow_without_end_are_refused(raw: bytes) -> None:
    with pytest.raises(UnreadableFile):
        read_table(raw)


def test_linkedin_addresses_are_one_form_and_other_sites_are_refused() -> None:
    for text in ("linkedin.com/in/Ada-L", "https://pt.linkedin.com/in/Ada-L/?trk=x", "http://www.linkedin.com/in/Ada-L/"):
        assert linkedin_profile(text) == ("https://www.linkedin.com/in/Ada-L", "ada-l"), text
    for text in ("https://linkedin.com.evil.com/in/ada", "javascript:alert(1)", "https://x@evil.com/linkedin.com/in/ada", "ada"):
        with pytest.raises(BadValue):
            linkedin_profile(text)


def test_values_are_tidied_or_refused_with_the_field_they_are_in() -> None:
    found = lead_values({"email": " Ada@X.com ", "timezone": "europe/lisbon", "language": "PT_br", "full_name": "Lovelace, Ada", "custom.n": "a\r\nb"})
    assert (found.email_key, found.timezone, found.language, found.first_name, found.last_name) == ("ada@x.com", "Europe/Lisbon", "pt-BR", "Ada", "Lovelace")
    assert found.custom == {"n": "a\nb"} and split_name("Ada") == ("Ada", "")
    for field, value in (("timezone", "Mars/Base"), ("language", "{{x}}"), ("company", "a\nb"), ("title", "x" * 251), ("custom.n", "a\x00"), ("email", "a@b")):
        with pytest.raises(BadValue) as refused:
            lead_values({field: value})
        assert refused.value.field == field
