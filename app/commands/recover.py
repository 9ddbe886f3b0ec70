"""``flask recover``: after a restored backup, find out what left meanwhile before anything may leave again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from app.channels.base import ChannelError
from app.channels.imap import ImapReader
from app.channels.wiring import build_channels
from app.core import clock
from app.core.crypto import CannotOpen
from app.core.db import JOBS_ROLE, transaction, use_database_role
from app.core.witness import Witness
from app.services.outbox.gathering import House
from app.services.outbox.plain import plain_connection
from app.services.recovery import continuity, finding, folders, holding, running
from app.services.recovery.finding import Told
from app.services.recovery.folders import SentFolder
from app.services.recovery.running import Run

MAILBOX_SECONDS = 1_800
AT_ONCE = 8


@click.command("recover")
@click.option("--since", metavar="TIME", help="When the backup was made (ISO 8601; UTC unless it says otherwise). Earlier is safe.")
@click.option("--although-unread", is_flag=True, help="Go on although some mailboxes could not be read: their messages stay «not sure».")
@click.option("--anyway", is_flag=True, help="Begin although nothing says that this database is older than what was sent.")
@click.option("--moved", is_flag=True, help="The database was only moved: its senders were stopped before the copy was made.")
@with_appcontext
def recover(since: str | None, although_unread: bool, anyway: bool, moved: bool) -> None:
    """Hold everything that may have been sent since a backup, look for it in the Sent folders, and let the rest go on.

    May be interrupted and started again. Exit code 0: senders may start; 1: something is left to do, it says what.
    """
    use_database_role(JOBS_ROLE)
    witness = Witness(current_app.extensions["settings"].data_dir)
    if moved:
        click.confirm("Nothing was sent by the old database after this copy was made. Is that certain?", abort=True)
        with transaction():
            released = running.finish(None, witness.highest)
        click.echo("This is the database that sends from now on." + _released(released))
        return
    with transaction():
        found = running.begin(_moment(since), witness.highest, anyway=anyway)
    if found is None:
        raise click.ClickException("Nothing says that this database is older than what was sent. If you know better, add --anyway.")
    if not isinstance(found, Run):
        raise click.UsageError(f"{found.why} Say --since <time of the backup>.")
    _Recovery(found).work(although_unread, witness)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--since is no time: {text!r}. Write it like 2026-11-24T02:00:00Z.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _released(released: bool) -> str:
    return " The stop of the whole installation is released." if released else " A person's stop of the whole installation stays."


class _Recovery:
    """The steps in order, each in short transactions, each harmless when it is done twice."""

    def __init__(self, one: Run) -> None:
        settings = current_app.extensions["settings"]
        self.run = one
        self.house = House(settings.public_url, bool(settings.allow_targets) or settings.rehearsal)
        self.reader: ImapReader = build_channels(settings).reader

    def work(self, although_unread: bool, witness: Witness) -> None:
        click.echo(f"recovery {self.run.number}: everything that may have been sent since {self.run.since:%Y-%m-%d %H:%M:%S %Z} is held")
        self.hold()
        unreachable = asyncio.run(self.look())
        self.hold()  # what the folders moved on may be due with its next step
        with transaction():
            unread = running.unread(self.run)
        self.report(unreachable, unread)
        if (unreachable or unread) and not although_unread:
            raise SystemExit(1)
        with transaction():
            released = running.finish(self.run, witness.highest)
        click.echo("This is the database that sends from now on." + _released(released))

    def hold(self) -> None:
        """Leads first: their rows are then held like all others."""
        after: int | None = 0
        while after is not None:
            with transaction():
                made, after = holding.make_due(plain_connection(), cutoff=self.run.cutoff, began=self.run.began, after=after)
            self.run.count("would have been made out", made)
        last = 0
        while True:
            with transaction():
                ids = holding.open_rows(plain_connection(), began=self.run.began, number=self.run.number, after=last)
                held = holding.hold(plain_connection(), ids, number=self.run.number, at=clock.now(), house=self.house) if ids else 0
                self.run.count("held", held)
                running.save(self.run)
            if not ids:
                break
            last = ids[-1]
            click.echo(f"  {self.run.told['held']} messages held")

    async def look(self) -> list[str]:
        """Every Sent folder; the mailboxes that could not be asked, with why."""
        with transaction():
            boxes = folders.mailboxes()
        left = [box for box in boxes if box.id not in self.run.done]
        gate = asyncio.Semaphore(AT_ONCE)
        failed: list[str] = []

        async def one(box: Any) -> None:
            async with gate:
                try:
                    async with asyncio.timeout(MAILBOX_SECONDS):
                        await self.look_into(box)
                except (ChannelError, CannotOpen, TimeoutError, OSError) as error:
                    failed.append(f"{box.address}: {error}")
                    return
            self.run.done.add(box.id)
            with transaction():
                running.save(self.run)
            click.echo(f"  {len(self.run.done)} of {len(boxes)} mailboxes: {box.address}")

        await asyncio.gather(*(one(box) for box in left))
        return sorted(failed)

    async def look_into(self, box: Any) -> None:
        async with folders.sent_folder(self.reader, box, self.run.since) as folder:
            if folder is None:
                self.run.count("mailboxes without a Sent folder")
                return
            async for uid, copy in folder.copies():
                told = self.attach(copy)
                if told is Told.WANTED:
                    told = self.attach(await self.fetched(folder, uid, copy))
                if told is not Told.NOT_OURS:
                    self.run.count(f"copies {told}")
                if told is Told.STRANGER:
                    self.run.strangers.append(f"{copy.at:%Y-%m-%d %H:%M} {copy.to}")

    async def fetched(self, folder: SentFolder, uid: int, copy: finding.Copy) -> finding.Copy:
        """With all its bytes, or at least with its head."""
        raw = await folder.whole(uid)
        return replace(copy, raw=raw or f"Message-ID: <{copy.message_id.strip('<>')}>\r\n\r\n".encode())

    def attach(self, copy: finding.Copy) -> Told:
        """Short, and between two answers of the server: the event loop may wait for it."""
        with transaction():
            return finding.attach(copy, number=self.run.number, began=self.run.began, now=clock.now(), house=self.house)

    def report(self, unreachable: list[str], unread: list[str]) -> None:
        for what, how_many in sorted(self.run.told.items()):
            click.echo(f"  {what}: {how_many}")
        for line in self.run.strangers:
            click.echo(f"  sent to somebody who is not in this database: {line}")
        for line in unreachable:
            click.echo(f"  not asked: {line}")
        for address in unread:
            click.echo(f"  answers not read since: {address}")
        with transaction():
            uncertain = continuity.count_uncertain(plain_connection())
        click.echo(
            f"{uncertain} messages are not sure. The Sent folders are asked again every five minutes; where the provider files every"
            " message by itself, what is not there after a quarter of an hour goes on; the others wait on the page «Not sure»."
        )
        if unreachable or unread:
            click.echo(
                "Nothing leaves yet. Correct the mailboxes named above, let the process `read` run until it has read them, and run"
                " this command again; or accept it with --although-unread."
            )


commands = [recover]
