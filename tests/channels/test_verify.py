"""Verifying a mailbox: both logins, and a cause a person can act on for everything that can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from app.channels.base import EndPoint, PasswordCredential, Security
from app.channels.imap import ImapReader, Role
from app.channels.smtp import SmtpTransport
from app.channels.verify import Cause, Verifier, VerifyResult, verify_many, verify_now
from app.channels.wire import Net
from app.core.net import AllowedTargets
from app.domain.providers import SentCopies
from tests.channels import dovecot
from tests.channels.peers import TableResolver, endpoint, local_net
from tests.channels.test_smtp_session import Peer

IMAP_BANNER = b"* OK hi\r\n"


class ImapPeer:
    """Answers each command by its verb; unknown ones with OK."""

    def __init__(self, answers: dict[str, bytes], banner: bytes = IMAP_BANNER) -> None:
        self.answers, self.banner = answers, banner

    async def start(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.banner)
        while line := await reader.readline():
            tag, verb, *_ = line.split()
            if verb.upper() == b"CAPABILITY":
                writer.write(b"* CAPABILITY IMAP4rev1\r\n")
            if verb.upper() == b"LOGOUT":
                writer.write(b"* BYE\r\n")
            writer.write(tag + b" " + self.answers.get(verb.decode().upper(), b"OK done") + b"\r\n")
        writer.close()


def verifier(net: Net | None = None, limit: float = 10) -> Verifier:
    net = net or local_net()
    return Verifier(SmtpTransport(net, "client.test"), ImapReader(net), limit)


async def both(smtp: Peer, imap: ImapPeer, **more: object) -> VerifyResult:
    return await verifier(**more).verify(endpoint(await smtp.start()), endpoint(await imap.start()))  # type: ignore[arg-type]


SMTP_CAUSES = [
    ({"auth": [b"535 5.7.8 Username and Password not accepted\r\n"]}, Cause.WRONG_PASSWORD),
    ({"auth": [b"534 5.7.9 Application-specific password required\r\n"]}, Cause.APP_PASSWORD),
    ({"auth": [b"535 5.7.139 basic authentication is disabled\r\n"]}, Cause.OAUTH_NEEDED),
    ({"auth": [b"535 5.7.139 SmtpClientAuthentication is disabled for the Tenant\r\n"]}, Cause.SMTP_DISABLED),
    ({"auth": [b"530 5.7.0 Must issue a STARTTLS command first\r\n"]}, Cause.TLS_REQUIRED),
    ({"auth": [b"454 4.7.0 Too many login attempts\r\n"]}, Cause.TOO_MANY),
    ({"auth": [b"503 5.5.1 authentication not enabled\r\n"]}, Cause.AUTH_NOT_OFFERED),
    ({"banner": [b"SSH-2.0-OpenSSH\r\n"]}, Cause.NOT_A_MAIL_SERVER),
    ({"banner": [b"554 no service\r\n"]}, Cause.BUSY),
    ({"ehlo": [b"421 closing\r\n"]}, Cause.BUSY),
]
IMAP_CAUSES = [
    (b"NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", Cause.WRONG_PASSWORD),
    (b"NO [ALERT] Application-specific password required", Cause.APP_PASSWORD),
    (b"NO [ALERT] Your account is not enabled for IMAP use. Please visit your settings", Cause.IMAP_DISABLED),
    (b"NO IMAP access is disabled for your domain", Cause.IMAP_DISABLED),
    (b"NO [ALERT] Please log in via your web browser", Cause.LOGIN_BLOCKED),
    (b"NO [ALERT] Too many simultaneous connections. (Failure)", Cause.TOO_MANY),
    (b"NO [UNAVAILABLE] Temporary authentication failure", Cause.BUSY),
    (b"NO [PRIVACYREQUIRED] Plaintext authentication disallowed", Cause.TLS_REQUIRED),
    (b"NO [EXPIRED] Password expired", Cause.PASSWORD_EXPIRED),
    (b"NO whatever", Cause.WRONG_PASSWORD),
]


@pytest.mark.parametrize(("answers", "cause"), SMTP_CAUSES, ids=[str(row[1]) for row in SMTP_CAUSES])
def test_smtp_causes_are_named(answers: dict[str, list[bytes]], cause: Cause) -> None:
    result = asyncio.run(both(Peer(dict(answers)), ImapPeer({})))
    assert result.smtp.cause is cause and not result.smtp.ok and result.smtp.message == f"verify.{cause.value}"
    assert result.imap.ok and not result.ok


@pytest.mark.parametrize(("answer", "cause"), IMAP_CAUSES, ids=[row[0].decode()[:30] for row in IMAP_CAUSES])
def test_imap_causes_are_named(answer: bytes, cause: Cause) -> None:
    result = asyncio.run(both(Peer(), ImapPeer({"LOGIN": answer})))
    assert result.imap.cause is cause and result.smtp.ok and result.sent_copies is None


def test_settings_that_cannot_work_are_named() -> None:
    async def story() -> None:
        smtp = await Peer(names=(b"AUTH PLAIN",)).start()
        imap = await ImapPeer({}).start()
        check = verifier().verify
        result = await check(endpoint(smtp, Security.STARTTLS), endpoint(imap, Security.STARTTLS))
        assert (result.smtp.cause, result.imap.cause) == (Cause.STARTTLS_NOT_OFFERED,) * 2
        result = await check(endpoint(smtp, Security.TLS), endpoint(imap, Security.TLS))
        assert result.smtp.cause in {Cause.TLS_FAILED, Cause.CONNECTION_LOST}
        result = await check(endpoint(1), endpoint(25, host="no.such.test"))
        assert (result.smtp.cause, result.imap.cause) == (Cause.PORT_CLOSED, Cause.HOST_UNKNOWN)
        result = await check(endpoint(70000), endpoint(25, host="bad host"))
        assert (result.smtp.cause, result.imap.cause) == (Cause.BAD_PORT, Cause.BAD_HOST)

    asyncio.run(story())


def test_a_target_that_is_not_allowed_tells_nothing_about_itself() -> None:
    async def story() -> None:
        net = Net(AllowedTargets(), TableResolver({"inside.test": ["10.0.0.5"]}))
        for host in ("127.0.0.1", "10.0.0.5", "inside.test", "::1"):
            for port in (25, 587):
                result = await verifier(net).verify(endpoint(port, host=host), endpoint(993, host=host))
                assert result.smtp.cause is Cause.NOT_ALLOWED and result.smtp.said == ""
                assert result.imap.cause is Cause.NOT_ALLOWED and result.imap.said == ""

    asyncio.run(story())


def test_a_silent_server_ends_in_time() -> None:
    async def story() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(5)

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        result = await verifier(limit=0.2).verify(endpoint(port), endpoint(port))
        assert result.smtp.cause is Cause.TIMEOUT and result.imap.cause is Cause.TIMEOUT and result.smtp.passing

    asyncio.run(story())


@pytest.fixture(scope="module")
def server() -> Iterator[dovecot.Dovecot]:
    if dovecot.found() is None:
        pytest.skip("dovecot is not installed")
    running = dovecot.start()
    yield running
    running.stop()


def test_ten_good_mailboxes_are_verified_together(server: dovecot.Dovecot) -> None:
    async def story() -> list[VerifyResult]:
        port = await Peer().start()
        pairs = [
            (endpoint(port), EndPoint("127.0.0.1", server.port, Security.NONE, f"u{n}", PasswordCredential(dovecot.PASSWORD)))
            for n in range(10)
        ]
        return await verify_many(verifier(), pairs)

    for result in asyncio.run(story()):
        assert result.ok and result.sent_copies is SentCopies.APPEND
        sent, junk = result.folder(Role.SENT), result.folder(Role.JUNK)
        assert sent is not None and sent.name == "Gesendete Objekte" and junk is not None


def test_a_page_can_verify_without_a_loop() -> None:
    net = Net(AllowedTargets(), TableResolver())
    assert verify_now(verifier(net), endpoint(25), endpoint(993)).smtp.cause is Cause.NOT_ALLOWED


def test_every_cause_and_hint_has_words_for_a_person() -> None:
    from app.domain.providers import PROVIDERS
    from app.strings import t

    for cause in Cause:
        assert t(f"verify.{cause.value}")
    for provider in PROVIDERS:
        assert t(provider.hint)
