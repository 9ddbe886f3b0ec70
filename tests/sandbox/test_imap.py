"""The IMAP server as imaplib and IMAPClient see it."""

from __future__ import annotations

import imaplib
import threading
import time
from collections.abc import Iterator
from datetime import date
from email.message import EmailMessage

import pytest
from imapclient import IMAPClient

from sandbox.mail.faults import ImapFault
from sandbox.mail.server import RunningMailServer
from tests.sandbox.conftest import BEN, PASSWORD, letter

LEAST_APPENDS_PER_S = 75  # a quarter of what is wanted and five to ten percent of what was measured


@pytest.fixture
def client(mail: RunningMailServer) -> Iterator[IMAPClient]:
    for number in (1, 2, 3):
        mail.deliver(BEN, letter(number))
    with IMAPClient("127.0.0.1", mail.ports.imap, ssl=False, timeout=5) as session:
        session.login(BEN, PASSWORD)
        yield session


def test_folders_carry_their_special_use(client: IMAPClient) -> None:
    found = {name: flags for flags, _, name in client.list_folders()}
    assert set(found) == {"INBOX", "Sent", "Junk", "Drafts", "Trash"}
    assert b"\\Sent" in found["Sent"]
    assert client.find_special_folder(b"\\Junk") == "Junk"


def test_a_wrong_password_is_named(mail: RunningMailServer) -> None:
    session = imaplib.IMAP4("127.0.0.1", mail.ports.imap)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        session.login(BEN, "wrong")
    session.logout()


@pytest.mark.parametrize("security", ["plain", "starttls", "tls"])
def test_login_and_authenticate_work_with_and_without_tls(mail: RunningMailServer, security: str) -> None:
    port = mail.ports.imaps if security == "tls" else mail.ports.imap
    session: imaplib.IMAP4 = (imaplib.IMAP4_SSL if security == "tls" else imaplib.IMAP4)("127.0.0.1", port)
    if security == "starttls":
        session.starttls()
    session.authenticate("PLAIN", lambda _: f"\0{BEN}\0{PASSWORD}".encode())
    assert session.select()[0] == "OK"
    session.logout()


def test_searches_by_uid_header_text_flag_and_date(client: IMAPClient) -> None:
    client.select_folder("INBOX")
    client.add_flags([2], ["\\Seen"])
    assert client.search(["ALL"]) == [1, 2, 3]
    assert client.search(["UID", "2:*"]) == [2, 3]
    assert client.search(["UID", "9:*"]) == [3], "a range beyond the end names the last one"
    assert client.search(["HEADER", "Message-ID", "<2@ours.test>"]) == [2]
    assert client.search(["UNSEEN"]) == [1, 3]
    assert client.search(["NOT", "UNSEEN"]) == [2]
    assert client.search(["SEEN", "SUBJECT", "number"]) == [2]
    assert client.search(["OR", "SUBJECT", "1", "SUBJECT", "3"]) == [1, 3]
    assert client.search(["FROM", "ada", "SINCE", date(2020, 1, 1)]) == [1, 2, 3]
    assert client.search(["BEFORE", date(2020, 1, 1)]) == []
    assert client.search([["UNSEEN"], "UID", "1"]) == [1]


def test_a_name_in_an_encoded_word_is_found(mail: RunningMailServer, client: IMAPClient) -> None:
    mail.deliver(BEN, b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nx")
    client.select_folder("INBOX")
    assert client.search(["SUBJECT", "Grüße"], charset="UTF-8") == [4]


def test_fetch_shows_body_header_parts_and_partials(mail: RunningMailServer, client: IMAPClient) -> None:
    mixed = EmailMessage()
    mixed["From"], mixed["To"], mixed["Subject"] = "Zoë Ünal <zoe@far.test>", BEN, "Mixed"
    mixed.set_content("text")
    mixed.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    mail.deliver(BEN, mixed.as_bytes().replace(b"\n", b"\r\n"))
    client.select_folder("INBOX", readonly=True)
    plain = client.fetch([1], ["BODY.PEEK[]", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[]<0.4>", "RFC822.SIZE"])[
        1
    ]
    assert plain[b"BODY[]"] == letter(1)
    assert plain[b"BODY[HEADER.FIELDS (SUBJECT)]"] == b"Subject: Number 1\r\n\r\n"
    assert plain[b"BODY[]<0>"] == letter(1)[:4]
    assert plain[b"RFC822.SIZE"] == len(letter(1))
    shown = client.fetch([4], ["ENVELOPE", "BODYSTRUCTURE", "BODY[2]", "INTERNALDATE", "FLAGS"])[4]
    assert shown[b"ENVELOPE"].from_[0].mailbox == b"zoe"
    assert shown[b"BODYSTRUCTURE"].is_multipart
    assert shown[b"BODY[2]"].strip() == b"JVBERg=="
    assert shown[b"FLAGS"] == (), "EXAMINE and PEEK mark nothing as read"


def test_reading_a_body_marks_it_seen_unless_peeked(client: IMAPClient) -> None:
    client.select_folder("INBOX")
    client.fetch([1], ["BODY.PEEK[]"])
    client.fetch([2], ["BODY[]"])
    assert client.search(["SEEN"]) == [2]


def test_moved_copied_and_expunged_messages_are_where_they_belong(client: IMAPClient) -> None:
    client.select_folder("INBOX")
    client.move([1], "Junk")
    client.copy([2], "Trash")
    client.delete_messages([3])
    client.uid_expunge([3])
    assert client.search() == [2]
    assert client.folder_status("Junk", ["MESSAGES", "UIDNEXT"]) == {b"MESSAGES": 1, b"UIDNEXT": 2}
    assert client.folder_status("Trash")[b"MESSAGES"] == 1


def test_append_tells_the_uid_and_keeps_flags_and_date(client: IMAPClient) -> None:
    answer = client.append("Sent", b"Subject: copy\r\n\r\nx", flags=[b"\\Seen"])
    assert b"APPENDUID" in answer
    client.select_folder("Sent")
    assert client.search(["SEEN", "SUBJECT", "copy"]) == [1]


def test_idle_pushes_at_once(mail: RunningMailServer, client: IMAPClient) -> None:
    client.select_folder("INBOX")
    client.idle()
    began = time.monotonic()
    mail.deliver(BEN, letter(4))
    assert (4, b"EXISTS") in client.idle_check(timeout=3)
    assert time.monotonic() - began < 0.25
    mail.expunge(BEN, [1])
    assert (1, b"EXPUNGE") in client.idle_check(timeout=3)
    client.idle_done()


def test_flag_changes_of_others_are_heard(mail: RunningMailServer, client: IMAPClient) -> None:
    client.select_folder("INBOX")
    with IMAPClient("127.0.0.1", mail.ports.imap, ssl=False) as other:
        other.login(BEN, PASSWORD)
        other.select_folder("INBOX")
        other.add_flags([2], ["\\Flagged"])
    _, news = client.noop()
    assert any(line[1] == b"FETCH" for line in news if len(line) > 1)


def test_condstore_shows_what_changed_since(client: IMAPClient) -> None:
    client.enable("CONDSTORE")
    before = client.select_folder("INBOX")[b"HIGHESTMODSEQ"]
    client.add_flags([3], ["\\Flagged"])
    assert list(client.fetch([1, 2, 3], ["FLAGS"], [f"CHANGEDSINCE {before}"])) == [3]
    assert client.search(["MODSEQ", str(before + 1)]) == [3]


def test_a_non_synchronising_literal_needs_no_round_trip(mail: RunningMailServer) -> None:
    session = imaplib.IMAP4("127.0.0.1", mail.ports.imap)
    session.sock.settimeout(5)
    raw = letter()
    session.send(f"a LOGIN {{{len(BEN)}+}}\r\n{BEN} {{6+}}\r\n{PASSWORD}\r\n".encode())
    session.send(f"b APPEND INBOX (\\Seen) {{{len(raw)}+}}\r\n".encode() + raw + b"\r\n")
    assert session.readline().startswith(b"a OK")
    assert session.readline().startswith(b"b OK [APPENDUID")
    session.shutdown()


def test_a_new_uidvalidity_ends_the_session_and_renumbers(mail: RunningMailServer, client: IMAPClient) -> None:
    before = client.select_folder("INBOX")[b"UIDVALIDITY"]
    mail.renumber(BEN, first_uid=100)
    with IMAPClient("127.0.0.1", mail.ports.imap, ssl=False) as again:
        again.login(BEN, PASSWORD)
        assert again.select_folder("INBOX")[b"UIDVALIDITY"] > before
        assert again.search() == [100, 101, 102]


def test_a_fetch_can_be_cut_in_the_middle(mail: RunningMailServer, client: IMAPClient) -> None:
    client.select_folder("INBOX")
    mail.imap_fault(ImapFault.DROP_MID_FETCH, BEN)
    with pytest.raises((imaplib.IMAP4.abort, OSError)):
        client.fetch([1, 2], ["BODY.PEEK[]"])
    assert mail.hits() == {"imap:drop_mid_fetch": 1}


def test_the_server_can_say_bye(mail: RunningMailServer, client: IMAPClient) -> None:
    mail.imap_fault(ImapFault.BYE, BEN)
    with pytest.raises((imaplib.IMAP4.abort, OSError)):
        client.noop()
        client.noop()
    assert mail.end_imap_sessions(BEN) == 0


def test_idle_can_be_deaf(mail: RunningMailServer, client: IMAPClient) -> None:
    client.select_folder("INBOX")
    mail.imap_fault(ImapFault.LOST_IDLE, BEN)
    client.idle()
    mail.deliver(BEN, letter(4))
    assert client.idle_check(timeout=0.3) == []
    client.idle_done()
    assert client.search() == [1, 2, 3, 4]


def test_nonsense_is_answered_by_bad_and_the_session_goes_on(mail: RunningMailServer) -> None:
    session = imaplib.IMAP4("127.0.0.1", mail.ports.imap)
    session.sock.settimeout(5)
    for line in (b"x\r\n", b"x (((\r\n", b'x "\r\n', b"x FETCH 1 FLAGS\r\n", b"\r\n", b"x UID\r\n"):
        session.send(line)
        assert b"BAD" in session.readline()
    assert session.login(BEN, PASSWORD)[0] == "OK"
    session.logout()


def test_appends_are_fast_enough_for_a_rehearsal(client: IMAPClient) -> None:
    raw = letter(1, "x" * 2000)
    began = time.monotonic()
    for _ in range(150):
        client.append("Drafts", raw)
    assert 150 / (time.monotonic() - began) > LEAST_APPENDS_PER_S


def test_many_sessions_hold_idle_and_all_hear(mail: RunningMailServer) -> None:
    clients = []
    for _ in range(40):
        session = IMAPClient("127.0.0.1", mail.ports.imap, ssl=False, timeout=5)
        session.login(BEN, PASSWORD)
        session.select_folder("INBOX")
        session.idle()
        clients.append(session)
    heard: list[bool] = []
    threads = [
        threading.Thread(target=lambda each=each: heard.append(bool(each.idle_check(timeout=5)))) for each in clients
    ]
    for thread in threads:
        thread.start()
    mail.deliver(BEN, letter(1))
    for thread in threads:
        thread.join()
    assert heard == [True] * 40
    for session in clients:
        session.shutdown()
