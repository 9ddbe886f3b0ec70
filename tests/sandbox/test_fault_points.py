"""All 14 points at which a peer can die, each in all three ways, as a client sees them."""

from __future__ import annotations

import smtplib

import pytest

from sandbox.mail.faults import Fault, Point
from sandbox.mail.server import RunningMailServer
from sandbox.mail.wire import Death
from tests.sandbox.conftest import ADA, BEN, PASSWORD, letter

TAKEN = {Point.DOT_AFTER, Point.REPLY, Point.QUIT}
PATIENCE = 0.3


def whole_conversation(port: int) -> list[str]:
    """Send one mail and note each stage that was reached."""
    reached: list[str] = []
    session = smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE)
    try:
        reached.append("banner")
        for stage, command in (
            ("ehlo", session.ehlo),
            ("starttls", session.starttls),
            ("auth", lambda: session.login(ADA, PASSWORD)),
            ("mail", lambda: session.mail(ADA)),
            ("rcpt", lambda: session.rcpt(BEN)),
            ("data", lambda: session.data(letter())),
            ("quit", session.quit),
        ):
            command()
            reached.append(stage)
    finally:
        session.close()
    return reached


@pytest.mark.parametrize("death", list(Death))
@pytest.mark.parametrize("point", list(Point))
def test_the_server_dies_where_and_how_it_was_told_to(mail: RunningMailServer, point: Point, death: Death) -> None:
    mail.fault(Fault(point, death))
    with pytest.raises((smtplib.SMTPException, OSError)) as felt:
        whole_conversation(mail.ports.smtp)
    if death is Death.BLACKHOLE:
        assert _is_timeout(felt.value), f"silence was expected, not {felt.value!r}"
    else:
        assert not _is_timeout(felt.value), "the connection should have ended at once"
    assert mail.hits() == {f"{point}:{death}": 1}
    assert len(mail.accepted()) == (1 if point in TAKEN else 0)
    assert whole_conversation(mail.ports.smtp)[-1] == "quit", "the fault was for one session only"


def test_there_are_fourteen_points() -> None:
    assert len(Point) == 14


def test_a_fault_may_concern_one_recipient_only(mail: RunningMailServer) -> None:
    mail.fault(Fault(Point.RCPT, recipient="other@theirs.test"))
    assert whole_conversation(mail.ports.smtp)[-1] == "quit"
    assert mail.hits() == {}


def _is_timeout(error: BaseException | None) -> bool:
    """Whether a time-out stands anywhere behind this error (smtplib wraps it)."""
    while error is not None:
        if isinstance(error, TimeoutError) or "timed out" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
