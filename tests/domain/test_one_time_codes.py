"""Codes of authenticator apps: the numbers of the standard, and what of a typed code is taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.domain import one_time_codes as codes

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # RFC 6238's "12345678901234567890"


@pytest.mark.parametrize(
    ("second", "digits"),
    [
        (59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037"), (20000000000, "353130"),
    ],
)  # fmt: skip
def test_the_codes_are_those_of_the_standards_table(second: int, digits: str) -> None:
    moment = datetime.fromtimestamp(second, UTC)
    assert codes.code_of(SECRET, codes.step_of(moment)) == digits
    assert codes.step_matching(SECRET, digits, moment) == second // 30


def test_a_code_of_the_step_before_or_after_is_taken_and_no_other() -> None:
    now = datetime(2026, 11, 29, 12, 0, 10, tzinfo=UTC)
    here = codes.step_of(now)
    for shift in range(-4, 5):
        found = codes.step_matching(SECRET, codes.code_of(SECRET, here + shift), now)
        assert found == (here + shift if abs(shift) <= 1 else None), shift
    assert codes.step_matching(SECRET, codes.code_of(SECRET, here), now + timedelta(seconds=60)) is None


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "٣٤٥٦٧٨", "12345a", "²²²²²²", "000000\n1"])
def test_what_are_not_six_digits_is_no_code_of_an_app(typed: str) -> None:
    assert not codes.is_app_code(codes.tidy(typed))


def test_spaces_hyphens_and_small_letters_do_not_matter() -> None:
    assert codes.is_app_code(codes.tidy(" 287 082\n"))
    assert codes.tidy("abcd-efgh ijkl-mnop") == codes.tidy(codes.readable("ABCDEFGHIJKLMNOP")) == "ABCDEFGHIJKLMNOP"


def test_the_address_of_the_qr_code_names_person_issuer_and_secret() -> None:
    address = codes.address_of(SECRET, "ann+x@company.test")
    assert address.startswith("otpauth://totp/Emberpost:ann%2Bx@company.test?")
    assert f"secret={SECRET}&issuer=Emberpost&algorithm=SHA1&digits=6&period=30" in address
