"""Triage by the keyboard: every key that the help lists, what it changes on the page, and what takes it back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from sandbox.demo_world import demo_people
from sandbox.personas import Persona
from tests.browser.person import CLIENT, Person, World
from tests.story.house import House, wait_for

KEYS = ["j", "k", "Enter", "Esc", "/", "r", "a", "s", "e", "u", "z", "?"]
WORDS = "I have a question about the second point."


@pytest.fixture(scope="module")
def world(house: House) -> World:
    return World(house)


@pytest.fixture(scope="module")
def writers(world: World, house: House) -> list[str]:
    """Names of three who got a mail and never write by themselves; each has written to us now, the last one newest."""
    quiet = {one.address: f"{one.first_name} {one.last_name}" for one in demo_people() if one.persona is Persona.NEVER_ANSWERS}

    def reached() -> list[str]:
        return list(dict.fromkeys(to for one in world.accepted() for to in one["recipients"] if to in quiet))

    wait_for("three quiet people have a mail", lambda: len(reached()) >= 3, 120, logs=house.logs)
    chosen = reached()[:3]
    for address in chosen:
        world.answer(address, WORDS)
    return [quiet[address] for address in chosen]


@pytest.fixture
def row(person: Person, writers: list[str]) -> Locator:
    """The inbox is open, and in it the conversation of the last writer."""
    person.page.goto(f"{CLIENT}/inbox/")
    found = person.page.locator(".conversation", has_text=writers[-1]).first
    found.wait_for(timeout=60_000)
    return found


def open_by_keys(person: Person, row: Locator) -> None:
    """j until the row has the focus, then Enter."""
    for _ in range(40):
        person.press("j")
        if row.evaluate("node => node.contains(document.activeElement)"):
            break
    person.press("Enter")
    person.page.locator(".thread").wait_for()
    expect(row).to_have_attribute("aria-current", "true")


def undo(page: Page) -> Locator:
    return page.locator("#toasts [data-undo]")


def test_the_help_lists_the_keys_and_each_button_says_its_own(person: Person, row: Locator) -> None:
    person.press("?")
    keys = person.page.locator("dialog#keys")
    expect(keys).to_be_visible()
    assert keys.locator("dt").all_inner_texts() == KEYS
    person.press("?")
    expect(keys).to_be_hidden()
    open_by_keys(person, row)
    for key in "asue":
        expect(person.page.locator(f'.thread-actions [data-key="{key}"]')).to_have_attribute("title", re.compile(rf"\b{key}\b"))


def test_slash_searches_and_escape_leaves_the_field(person: Person, row: Locator, writers: list[str]) -> None:
    page = person.page
    person.press("/")
    expect(page.locator("#inbox-q")).to_be_focused()
    page.keyboard.type(writers[0])
    expect(page.locator(".conversation")).to_have_count(1)
    expect(page.locator(".conversation")).to_contain_text(writers[0])
    person.press("Escape")
    expect(page.locator("#inbox-q")).not_to_be_focused()
    person.push(page.locator(".list-chips a"))
    expect(row).to_be_visible()


def test_a_assigns_and_z_gives_it_back(person: Person, row: Locator) -> None:
    page = person.page
    open_by_keys(person, row)
    person.press("a")
    person.push(page.get_by_role("button", name="Me", exact=True))
    expect(page.locator('.thread-actions [data-key="a"]')).to_contain_text("Ada Lindner")
    expect(row.locator(".avatar-tiny")).to_have_attribute("title", "Assigned to Ada Lindner")
    expect(page.locator("#toasts")).to_contain_text("Assigned.")
    undo(page).wait_for()
    person.press("z")
    expect(page.locator('.thread-actions [data-key="a"]')).to_contain_text("Assign")
    expect(row.locator(".avatar-tiny")).to_have_count(0)


def test_e_closes_goes_on_to_the_next_and_z_opens_it_again(person: Person, row: Locator) -> None:
    page = person.page
    open_by_keys(person, row)
    number = page.locator(".thread").get_attribute("data-conversation")
    closed = page.locator(f"#c-{number}")
    person.press("e")
    expect(closed).to_have_count(0)
    expect(page.locator("#toasts")).to_contain_text("Closed.")
    expect(page.locator(".thread")).not_to_have_attribute("data-conversation", number or "")
    person.press("z")
    expect(closed).to_have_count(1)
    page.goto(f"{CLIENT}/inbox/{number}")
    person.press("e")
    page.goto(f"{CLIENT}/inbox/{number}?view=closed")
    expect(page.locator("#thread-facts")).to_contain_text("Closed")
    person.press("e")
    expect(page.locator("#thread-facts")).not_to_contain_text("Closed")


def test_u_marks_unread_and_z_marks_it_read_again(person: Person, row: Locator) -> None:
    page = person.page
    open_by_keys(person, row)
    expect(row).not_to_have_class(re.compile("is-unread"))
    expect(page.locator('.thread-actions [data-key="u"]')).to_contain_text("Mark unread")
    person.press("u")
    expect(row).to_have_class(re.compile("is-unread"))
    expect(page.locator(".thread-none")).to_be_visible()
    undo(page).wait_for()
    person.press("z")
    expect(row).not_to_have_class(re.compile("is-unread"))


def test_s_snoozes_and_z_or_s_wakes_it_up(person: Person, row: Locator) -> None:
    page = person.page
    open_by_keys(person, row)
    number = page.locator(".thread").get_attribute("data-conversation")
    snoozed = page.locator(f"#c-{number}")
    for wake in ("z", "s"):
        person.press("s")
        person.push(page.get_by_role("button", name="Next week"))
        expect(snoozed).to_have_count(0)
        if wake == "z":
            person.press("z")
            expect(snoozed).to_have_count(1)
            page.goto(f"{CLIENT}/inbox/{number}")
        else:
            page.goto(f"{CLIENT}/inbox/{number}?view=snoozed")
            expect(snoozed).to_contain_text("until")  # "Mon" or the date: it hangs on the rehearsal's day
            person.press("s")
            expect(page.locator("#thread-facts")).not_to_contain_text("until")


def test_r_writes_escape_leaves_the_words_and_they_are_still_there(person: Person, row: Locator) -> None:
    page = person.page
    open_by_keys(person, row)
    number = page.locator(".thread").get_attribute("data-conversation")
    person.press("r")
    page.keyboard.type("Half a sentence")
    person.press("Escape")
    expect(page.locator("#answer-text")).not_to_be_focused()
    person.press("j")
    expect(page.locator(".thread")).not_to_have_attribute("data-conversation", number or "")
    person.press("k")
    expect(page.locator("#answer-text")).to_have_value("Half a sentence")
    person.press("r", "Control+a", "Delete", "Escape", "Escape")
    expect(page.locator(".thread-none")).to_be_visible()


def test_ticked_rows_are_closed_together_and_the_answer_says_how_many(person: Person, row: Locator, writers: list[str]) -> None:
    page = person.page
    ticks = [page.locator(".conversation", has_text=name).first.locator("input[data-tick]") for name in writers[:2]]
    for tick in ticks:
        person.push(tick, "Space")
    expect(page.locator("[data-tick-count]").first).to_have_text("2")
    person.push(page.locator(".bulk").get_by_role("button", name="Close"))
    expect(page.locator("#toasts")).to_contain_text("2 conversations changed.")
    for name in writers[:2]:
        expect(page.locator(".conversation", has_text=name)).to_have_count(0)


def test_with_the_keys_switched_off_none_does_anything(person: Person, row: Locator) -> None:
    page = person.page
    page.goto("/profile")
    person.push(page.get_by_label("Keyboard shortcuts"), "Space")
    person.push(page.get_by_role("button", name="Save", exact=True))
    page.locator("#toasts [data-toast]").wait_for()
    page.goto(f"{CLIENT}/inbox/")
    expect(page.locator("[data-legend]")).to_contain_text("Keys are off")
    person.press("j", "/", "?")
    expect(page.locator("dialog#keys")).to_be_hidden()
    expect(page.locator("#inbox-q")).not_to_be_focused()
    page.goto("/profile")
    person.push(page.get_by_label("Keyboard shortcuts"), "Space")
    person.push(page.get_by_role("button", name="Save", exact=True))
    page.locator("#toasts [data-toast]").wait_for()
    page.goto(f"{CLIENT}/inbox/")
    expect(page.locator("[data-legend]")).to_contain_text("move")
