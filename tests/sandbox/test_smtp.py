"""The submission and MX ports behave as real servers do, and what was taken is counted."""

from __future__ import annotations

import contextlib
import imaplib
import smtplib
import socket
import ssl
import time
from pathlib import Path

import pytest

from sandbox.mail.faults import Phase, Rates, ScriptedReply
from sandbox.mail.server import MailConfig, RunningMailServer
from tests.sandbox.conftest import ADA, BEN, PASSWORD, letter, logged_in


def test_a_submitted_mail_lies_in_the_inbox_with_its_message_id_and_a_received_line(mail: RunningMailServer) -> None:
    with logged_in(mail.ports.smtp) as session:
        session.sendmail(ADA, [BEN], letter(1))
    (found,) = mail.messages(BEN)
    assert found.parsed["Message-ID"] == "<1@ours.test>"
    assert found.raw.endswith(letter(1))
    assert "for <ben@theirs.test>" in found.parsed["Received"]
    (taken,) = mail.accepted()
    assert (taken.mail_from, taken.recipients, taken.login, taken.port) == (ADA, (BEN,), ADA, "submission")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_can_be_submitted_over_tls(mail: RunningMailServer, security: str) -> None:
    if security == "tls":
        session: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", mail.ports.smtps, timeout=5)
    else:
        session = smtplib.SMTP("127.0.0.1", mail.ports.smtp, timeout=5)
        session.starttls()
    with session:
        session.login(ADA, PASSWORD)
        session.sendmail(ADA, [BEN], letter(1))
    assert "ESMTPSA" in mail.messages(BEN)[0].parsed["Received"]


def test_the_self_made_certificate_is_not_trusted_by_default(mail: RunningMailServer) -> None:
    with smtplib.SMTP("127.0.0.1", mail.ports.smtp, timeout=5) as session, pytest.raises(ssl.SSLError):
        session.starttls(context=ssl.create_default_context())


def test_a_wrong_password_is_refused_by_535(mail: RunningMailServer) -> None:
    with smtplib.SMTP("127.0.0.1", mail.ports.smtp, timeout=5) as session:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            session.login(ADA, "wrong")
        assert refused.value.smtp_code == 535


def test_submission_without_login_is_refused(mail: RunningMailServer) -> None:
    with smtplib.SMTP("127.0.0.1", mail.ports.smtp, timeout=5) as session:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            session.sendmail(ADA, [BEN], letter())
        assert refused.value.smtp_code == 530


def test_a_mailbox_may_insist_on_starttls(mail: RunningMailServer) -> None:
    mail.add_account(ADA, PASSWORD, starttls_only=True)
    with smtplib.SMTP("127.0.0.1", mail.ports.smtp, timeout=5) as session:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            session.login(ADA, PASSWORD)
        assert refused.value.smtp_code == 538
        session.starttls()
        session.login(ADA, PASSWORD)


def test_the_mx_port_takes_mail_for_people_of_the_world_only(mail: RunningMailServer) -> None:
    with smtplib.SMTP("127.0.0.1", mail.ports.mx, timeout=5) as session:
        session.sendmail("stranger@far.test", [BEN], letter())
        with pytest.raises(smtplib.SMTPRecipientsRefused) as unknown:
            session.sendmail("stranger@far.test", ["nobody@theirs.test"], letter())
        with pytest.raises(smtplib.SMTPRecipientsRefused) as foreign:
            session.sendmail("stranger@far.test", ["who@elsewhere.test"], letter())
    assert b"5.1.1" in unknown.value.recipients["nobody@theirs.test"][1]
    assert b"5.7.1" in foreign.value.recipients["who@elsewhere.test"][1]


def test_a_submission_for_an_unknown_local_address_comes_back_as_a_delivery_report(mail: RunningMailServer) -> None:
    with logged_in(mail.ports.smtp) as session:
        session.sendmail(ADA, ["nobody@theirs.test"], letter(7))
    (report,) = mail.messages(ADA)
    assert report.parsed.get_content_type() == "multipart/report"
    assert b"Status: 5.1.1" in report.raw
    assert b"Message-ID: <7@ours.test>" in report.raw


def test_foreign_mail_can_be_kept_in_the_outside_box() -> None:
    with RunningMailServer(MailConfig(keep_outside=True)) as mail:
        mail.add_account(ADA, PASSWORD)
        with logged_in(mail.ports.smtp) as session:
            session.sendmail(ADA, ["who@elsewhere.test"], letter())
        assert mail.call(lambda: [kept[:2] for kept in mail.server.outside]) == [(ADA, "who@elsewhere.test")]
        assert mail.counts_by_message_id() == {"<1@ours.test>": 1}


def test_a_provider_that_copies_submissions_files_them_in_sent(mail: RunningMailServer) -> None:
    mail.add_account(ADA, PASSWORD, copies_to_sent=True)
    with logged_in(mail.ports.smtp) as session:
        session.sendmail(ADA, [BEN], letter(1))
    (copy,) = mail.messages(ADA, "Sent")
    assert copy.raw == letter(1)
    assert copy.flags == {"\\Seen"}


def test_a_plus_address_reaches_its_mailbox(mail: RunningMailServer) -> None:
    with smtplib.SMTP("127.0.0.1", mail.ports.mx, timeout=5) as session:
        session.sendmail(BEN, ["ada+u.token@ours.test"], letter())
    assert mail.messages(ADA)[0].parsed["Delivered-To"] == "ada+u.token@ours.test"


def test_dots_at_line_starts_and_an_empty_message_arrive_unchanged(mail: RunningMailServer) -> None:
    dotted = letter(1, ".\r\n..two\r\n.end")
    with logged_in(mail.ports.smtp) as session:
        session.sendmail(ADA, [BEN], dotted)
        session.sendmail(ADA, [BEN], b"")
    first, second = mail.messages(BEN)
    assert first.raw.endswith(dotted + b"\r\n")
    assert second.raw.endswith(b"\r\n")


def test_pipelined_commands_are_answered_in_order(mail: RunningMailServer) -> None:
    with socket.create_connection(("127.0.0.1", mail.ports.mx), 5) as raw:
        lines = f"EHLO x\r\nMAIL FROM:<a@far.test>\r\nRCPT TO:<{BEN}>\r\nDATA\r\n"
        raw.sendall(lines.encode() + letter() + b".\r\nQUIT\r\n")
        heard = b""
        while chunk := raw.recv(4096):
            heard += chunk
    assert [line[:3] for line in heard.splitlines() if line[3:4] == b" "] == [
        b"220", b"250", b"250", b"250", b"354", b"250", b"221",
    ]  # fmt: skip
    assert len(mail.messages(BEN)) == 1


def test_a_body_is_not_ended_by_a_bare_line_feed(mail: RunningMailServer) -> None:
    with socket.create_connection(("127.0.0.1", mail.ports.mx), 5) as raw:
        lines = f"EHLO x\r\nMAIL FROM:<a@far.test>\r\nRCPT TO:<{BEN}>\r\nDATA\r\n"
        smuggled = b"Subject: a\r\n\r\nx\n.\nMAIL FROM:<evil@far.test>\r\n"
        raw.sendall(lines.encode() + smuggled + b".\r\nQUIT\r\n")
        while raw.recv(4096):
            continue
    assert len(mail.messages(BEN)) == 1


def test_answers_can_be_scripted_per_recipient_and_phase(mail: RunningMailServer) -> None:
    mail.script(ScriptedReply(Phase.RCPT, "451 4.7.1 Greylisted, try again in 5 minutes", recipient=BEN))
    mail.script(ScriptedReply(Phase.DOT, "554-5.7.1 Looks like spam\n554 5.7.1 Really"))
    with logged_in(mail.ports.smtp) as session:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            session.sendmail(ADA, [BEN], letter(1))
        with pytest.raises(smtplib.SMTPDataError) as spam:
            session.sendmail(ADA, [BEN], letter(2))
        session.sendmail(ADA, [BEN], letter(3))
    assert spam.value.smtp_code == 554
    assert mail.counts_by_message_id() == {"<3@ours.test>": 1}


def test_a_scripted_answer_after_the_dot_may_belong_to_a_taken_message(mail: RunningMailServer) -> None:
    mail.script(ScriptedReply(Phase.DOT, "421 4.3.2 Shutting down", taken=True, split=True, then_close=True))
    session = logged_in(mail.ports.smtp)
    with pytest.raises(smtplib.SMTPException):
        session.sendmail(ADA, [BEN], letter(1))
    assert mail.counts_by_message_id() == {"<1@ours.test>": 1}


def test_rates_drop_and_defer_as_often_as_asked(mail: RunningMailServer) -> None:
    mail.rates(Rates(drop_before=0.1, drop_after=0.1, defer=0.1, seed=3))
    told_taken = 0
    for number in range(200):
        with contextlib.suppress(smtplib.SMTPException, ConnectionError), logged_in(mail.ports.smtp) as session:
            session.sendmail(ADA, [BEN], letter(number))
            told_taken += 1
    hits = mail.hits()
    assert all(8 <= hits[f"rate:{name}"] <= 35 for name in ("drop_before", "drop_after", "defer"))
    assert len(mail.accepted()) == 200 - hits["rate:drop_before"] - hits["rate:defer"]
    assert told_taken == len(mail.accepted()) - hits["rate:drop_after"]


def test_a_slow_mailbox_answers_late(mail: RunningMailServer) -> None:
    mail.add_account(ADA, PASSWORD, answer_delay_s=0.2)
    with logged_in(mail.ports.smtp) as session:
        began = time.monotonic()
        session.noop()
        assert time.monotonic() - began >= 0.2


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    for run in (1, 2):
        with RunningMailServer(MailConfig(directory=tmp_path)) as mail:
            mail.add_account(ADA, PASSWORD)
            mail.add_account(BEN, PASSWORD)
            with logged_in(mail.ports.smtp) as session:
                session.sendmail(ADA, [BEN], letter(run))
            if run == 1:
                mail.renumber(BEN, first_uid=40)
                validity = mail.call(lambda: mail.server.store.accounts[BEN].folders["INBOX"].uid_validity)
                with imaplib.IMAP4("127.0.0.1", mail.ports.imap) as reader:
                    reader.login(BEN, PASSWORD)
                    reader.select()
                    reader.uid("STORE", "40", "+FLAGS", "(\\Seen)")
    assert [
        (m.uid, m.parsed["Message-ID"]) for m in mail.server.store.accounts[BEN].folders["INBOX"].messages.values()
    ] == [
        (40, "<1@ours.test>"),
        (41, "<2@ours.test>"),
    ]
    assert mail.server.store.accounts[BEN].folders["INBOX"].messages[40].flags == {"\\Seen"}
    assert mail.server.store.accounts[BEN].folders["INBOX"].uid_validity == validity
    assert mail.server.ledger.counts_by_message_id() == {"<1@ours.test>": 1, "<2@ours.test>": 1}


def test_a_record_torn_by_a_crash_is_cut_off_and_the_rest_is_there(tmp_path: Path) -> None:
    with RunningMailServer(MailConfig(directory=tmp_path)) as mail:
        mail.add_account(BEN, PASSWORD)
        mail.deliver(BEN, letter(1))
        mail.deliver(BEN, letter(2))
    journal = tmp_path / "mail.journal"
    journal.write_bytes(journal.read_bytes()[:-10])
    with RunningMailServer(MailConfig(directory=tmp_path)) as mail:
        mail.add_account(BEN, PASSWORD)
        mail.deliver(BEN, letter(3))
        assert [m.parsed["Message-ID"] for m in mail.messages(BEN)] == ["<1@ours.test>", "<3@ours.test>"]
