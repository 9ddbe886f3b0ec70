"""With scripts switched off: log in, read, answer, close, import, make and start a campaign, pause it. Everything is a form or a link."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from sandbox.demo_world import demo_people
from sandbox.personas import Persona
from tests.browser.person import CLIENT, World, password_of
from tests.story.house import House, wait_for

ANSWER = "Written without a script"
NEW = "Plain greetings"
LIST = b"E-mail,First name,Company\nrohan51@private-post.test,Ida,Plain Words\nnobody,Udo,Plain Words\n"
FIRST = "rohan51@private-post.test"  # a mailbox of the world that no lead of the demo has


@pytest.fixture(scope="module")
def world(house: House) -> World:
    return World(house)


@pytest.fixture(scope="module")
def plain(browser: Browser, house: House) -> Iterator[Page]:
    """A window in which no script runs, signed in through the form."""
    context = browser.new_context(base_url=house.url, java_script_enabled=False, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    page.goto(f"{CLIENT}/inbox/")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("E-mail").fill("admin@emberdemo.test")
    page.get_by_label("Password").fill(password_of(house))
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(f"{CLIENT}/inbox/"))
    yield page
    context.close()


@pytest.fixture(scope="module")
def writer(world: World, house: House, plain: Page) -> tuple[str, str]:
    """Address and name of somebody who never writes by himself and has written now."""
    quiet = {one.address: f"{one.first_name} {one.last_name}" for one in demo_people() if one.persona is Persona.NEVER_ANSWERS}
    got = wait_for("a mail to a quiet person", lambda: [to for one in world.accepted() for to in one["recipients"] if to in quiet], 120)
    address = list(dict.fromkeys(got))[-1]
    world.answer(address, "What does it cost?")

    def arrived() -> bool:
        plain.goto(f"{CLIENT}/inbox/?q={quiet[address].replace(' ', '+')}")
        return plain.locator(".conversation.is-unread").count() == 1

    wait_for("the answer in the list", arrived, 60, logs=house.logs)
    return address, quiet[address]


def open_conversation(page: Page, name: str) -> None:
    page.goto(f"{CLIENT}/inbox/")
    page.get_by_role("searchbox").fill(name)
    page.get_by_role("searchbox").press("Enter")
    page.locator(".conversation-link", has_text=name).click()
    expect(page.locator(".thread-who")).to_contain_text(name)


def test_an_answer_is_read_and_answered_and_arrives_once(plain: Page, writer: tuple[str, str], world: World, house: House) -> None:
    address, name = writer
    open_conversation(plain, name)
    expect(plain.locator(".message-in").last).to_contain_text("What does it cost?")
    plain.locator(".thread-actions").get_by_role("button", name="Mark read").click()
    expect(plain.locator(".thread-actions").get_by_role("button", name="Mark unread")).to_be_visible()
    before = len(world.accepted(address))
    plain.locator("#answer-text").fill("Something else first")
    plain.get_by_role("button", name="Send", exact=True).click()
    expect(plain.locator(".message-queued")).to_contain_text("Something else first")
    plain.locator(".message-queued").get_by_role("button", name="Undo").click()
    expect(plain.locator("#answer-text")).to_have_value("Something else first")
    plain.locator("#answer-text").fill(ANSWER)
    plain.get_by_role("button", name="Send", exact=True).click()
    expect(plain.locator(".message-queued")).to_contain_text(ANSWER)
    wait_for("the answer at its receiver", lambda: len(world.accepted(address)) > before, 30, logs=house.logs)
    assert len(world.accepted(address)) == before + 1
    plain.reload()
    expect(plain.locator(".message-sent").last).to_contain_text(ANSWER)


def test_a_conversation_is_assigned_snoozed_woken_and_closed(plain: Page, writer: tuple[str, str]) -> None:
    _, name = writer
    open_conversation(plain, name)
    plain.locator("summary", has_text="Assign").click()
    plain.get_by_role("button", name="Me", exact=True).click()
    expect(plain.locator(".thread-actions")).to_contain_text("Ada Lindner")
    plain.locator("summary", has_text="Snooze").click()
    plain.get_by_role("button", name="Tomorrow").click()
    expect(plain.locator("#toasts")).to_contain_text("Snoozed.")
    plain.goto(f"{CLIENT}/inbox/?view=snoozed")
    plain.locator(".conversation-link", has_text=name).click()
    plain.locator(".thread-actions").get_by_role("button", name="Wake up").click()
    expect(plain.locator("#toasts")).to_contain_text("Open again.")
    plain.locator(".thread-actions").get_by_role("button", name="Close", exact=True).click()
    plain.goto(f"{CLIENT}/inbox/?view=closed")
    expect(plain.locator(".conversation", has_text=name)).to_have_count(1)


def test_ticked_conversations_are_changed_together(plain: Page, writer: tuple[str, str]) -> None:
    _, name = writer
    plain.goto(f"{CLIENT}/inbox/?view=closed")
    plain.locator(".conversation", has_text=name).locator("input[type=checkbox]").check()
    plain.locator(".bulk").get_by_role("button", name="Mark read").click()
    expect(plain.locator("#toasts")).to_contain_text("conversation")


def test_a_list_is_imported_and_a_campaign_made_and_started(plain: Page, world: World, house: House) -> None:
    plain.goto(f"{CLIENT}/campaigns/")
    plain.get_by_role("link", name="New campaign").click()
    plain.get_by_label("Name of the campaign").fill(NEW)
    plain.get_by_role("button", name="Save and choose people").click()
    plain.goto(f"{CLIENT}/leads/")
    plain.get_by_role("link", name="Import leads").click()
    plain.get_by_label("File").set_input_files({"name": "plain.csv", "mimeType": "text/csv", "buffer": LIST})
    plain.get_by_role("button", name="Read the file").click()
    plain.get_by_role("button", name="Import now").click()
    expect(plain.locator(".state-head")).to_contain_text("Done")
    expect(plain.locator("tbody")).to_contain_text("nobody")
    plain.locator("select.import-to").select_option(label=NEW)
    plain.get_by_role("button", name="Add to campaign").click()
    expect(plain.locator("tbody tr")).to_have_count(1)
    plain.get_by_role("link", name="Continue").click()
    for day in range(7):
        plain.locator(f"#day-{day}").fill("00:00-24:00")
    plain.get_by_label("jonas.weber@emberdemo.test").check()
    plain.get_by_role("button", name="Save and continue").click()
    plain.locator(".starter button").first.click()
    plain.get_by_label("Subject").fill("Hello {{ first_name }}")
    plain.get_by_role("button", name="Show the preview").click()
    expect(plain.locator("#preview")).to_contain_text("Hello Ida")
    plain.get_by_role("button", name="Save and continue").click()
    plain.get_by_role("button", name=re.compile("^Start: 1 lead")).click()
    expect(plain.locator(".state-head")).to_contain_text("Running")
    wait_for("the first mail", lambda: world.accepted(FIRST), 90, logs=house.logs)
    assert [one["subject"] for one in world.accepted(FIRST)] == ["Hello Ida"]


def test_a_campaign_is_paused_resumed_and_stopped_by_typing_its_name(plain: Page) -> None:
    plain.goto(f"{CLIENT}/campaigns/")
    plain.get_by_role("link", name=NEW).click()
    plain.get_by_role("button", name="Pause", exact=True).click()
    expect(plain.locator(".state-head")).to_contain_text("Paus")
    plain.get_by_role("button", name="Resume", exact=True).click()
    expect(plain.locator(".state-head")).to_contain_text("Running")
    plain.get_by_label(re.compile("to stop it for good")).first.fill(NEW)
    plain.get_by_role("button", name="Stop", exact=True).last.click()
    expect(plain.locator(".state-head")).to_contain_text("Stopp")


def test_no_button_is_shown_that_only_a_script_could_press(plain: Page) -> None:
    found = []
    for path in ("inbox/", "campaigns/", "campaigns/1", "campaigns/1/people", "campaigns/2", "campaigns/2/schedule", "leads/", "mailboxes/", "mailboxes/1", "stop"):
        plain.goto(f"{CLIENT}/{path}")
        for button in plain.locator("button[type=button]:visible").all():
            found.append(f"{path}: {button.inner_text() or button.get_attribute('aria-label')}")
    assert not found, found
