"""Pasted lines of many mailboxes."""

from __future__ import annotations

import pytest

from app.domain.mailbox_lines import read_lines


def test_lines_without_a_head_are_address_password_name_and_servers() -> None:
    read = read_lines("ada@a.test, secret , Ada\n\nbo@a.test,x,,smtp.a.test,465,imap.a.test,993\n")
    assert [line.number for line in read.lines] == [1, 3]
    assert read.lines[0].values == {"email": "ada@a.test", "smtp_password": " secret ", "display_name": "Ada"}
    assert read.lines[1].values["imap_port"] == "993"


def test_a_head_line_gives_the_columns_in_any_order_and_names_what_is_not_taken() -> None:
    read = read_lines("\ufeffName\tE-Mail\tFavourite colour\tApp password\nAda\tada@a.test\tred\t\"a\tb\"\n")
    assert read.lines[0].values == {"display_name": "Ada", "email": "ada@a.test", "smtp_password": "a\tb"}
    assert read.unknown == ("Favourite colour",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a@a.test;x\nA@a.test;y", "line 1"),
        ("a@a.test;x;n;h;1;h;1;more", "8 columns"),
        ("email;password\n;x", "no address"),
    ],
)
def test_a_line_that_cannot_be_taken_says_why(text: str, problem: str) -> None:
    assert problem in read_lines(text).lines[-1].problem


@pytest.mark.parametrize("text", ["", "\n \n", "\n".join(f"a{n}@a.test,x" for n in range(501))])
def test_nothing_and_too_much_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line|most"):
        read_lines(text)
