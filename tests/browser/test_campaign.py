"""Campaigns by the keyboard alone: who answered, pausing, the client's stop, and a new one from a CSV file to its first mail."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.person import CLIENT, Person, World
from tests.story.house import House, wait_for

RUNNING = "Autumn introduction"
NEW = "Spring greetings"
LIST = (
    "E-mail,First name,Surname,Firm\n"
    "ines12@private-post.test,Nora,Field,Quiet Harbour\n"
    "omar@private-post.test,Omar,Stone,Quiet Harbour\n"
    "no address here,Pia,Wood,Quiet Harbour\n"
)
FIRST = "ines12@private-post.test"  # a mailbox of the world that no lead of the demo has
QUIET_MS = 4_000


@pytest.fixture(scope="module")
def world(house: House) -> World:
    return World(house)


def open_running(person: Person) -> Page:
    page = person.page
    page.goto(f"{CLIENT}/campaigns/")
    person.push(page.get_by_role("link", name=RUNNING))
    page.locator(".state-head").wait_for()
    return page


@pytest.fixture
def released(person: Person) -> Iterator[Person]:
    """Whatever a journey stopped goes on afterwards, also when it fails."""
    yield person
    page = open_running(person)
    if page.get_by_role("button", name="Resume").count():
        person.press("p")
        expect(page.locator(".state-head")).to_contain_text("Running")
    page.goto(f"{CLIENT}/stop")
    release = page.locator(".stop-card").get_by_role("button", name="Release")
    if release.count():
        person.push(release)
        expect(release).to_have_count(0)


def nothing_leaves(page: Page, world: World) -> None:
    """For some seconds the receiver counts nothing new."""
    before = len(world.accepted())
    page.wait_for_timeout(QUIET_MS)
    assert len(world.accepted()) == before, "a mail left all the same"


def test_the_campaign_shows_who_answered_and_that_nothing_more_goes_to_them(person: Person, world: World) -> None:
    page = open_running(person)
    answered = page.locator("a.stat", has_text="Replied")
    wait_for("somebody has answered", lambda: page.reload() and answered.locator(".stat-value").inner_text() != "0", 120, pause=1)
    person.push(answered)
    page.wait_for_url(re.compile("status=replied"))
    row = page.locator("tbody tr").first
    expect(row.locator(".state-good")).to_have_text("Replied")
    expect(row).to_contain_text("The lead has answered.")
    name, address = row.locator(".name").inner_text(), row.locator(".row-why").first.inner_text()
    before = [one["subject"] for one in world.accepted(address)]
    assert len(before) == len(set(before)), "a follow-up went to somebody who has answered"
    person.push(row.locator("a.name"))
    expect(page.locator("h1")).to_contain_text(name)
    expect(page.locator(".panel .state-good").first).to_contain_text("Replied")


def test_p_pauses_the_campaign_says_so_and_resumes_it(released: Person, world: World) -> None:
    page = open_running(released)
    head = page.locator(".state-head")
    expect(head).to_contain_text("Running")
    released.press("p")
    expect(head).to_contain_text(re.compile(r"Paus(ing, \d+ in flight|ed)"))
    expect(page.locator(".stop-facts-line")).to_have_text(re.compile(r"^since \w{3} \d\d:\d\d:\d\d, sent since: 0"))
    expect(page.locator(".note")).to_contain_text("Leads keep their place")
    nothing_leaves(page, world)
    released.press("p")
    expect(head).to_contain_text("Running")
    expect(page.locator(".note")).to_have_count(0)


def test_the_client_is_stopped_says_when_and_that_nothing_was_sent_since_and_goes_on(released: Person, world: World) -> None:
    page = released.page
    page.goto(f"{CLIENT}/settings/")
    released.push(page.locator("nav.tabs").get_by_role("link", name="Stop"))
    page.wait_for_url(re.compile("/stop$"))
    card = page.locator(".stop-card")
    released.fill(card.get_by_label("Why"), "A wrong price in the text")
    released.press("Enter")
    facts = card.locator(".stop-facts")
    expect(facts).to_have_text(re.compile(r"^(Stopping, \d+ |Stopped )"))
    expect(facts).to_have_text(re.compile(r"^Stopped.* \d\d:\d\d:\d\d, sent since: 0"))
    expect(card).to_contain_text("A wrong price in the text")
    expect(page.locator(".live-stopped")).to_be_visible()
    nothing_leaves(page, world)
    page.reload()
    expect(facts).to_contain_text("sent since: 0")
    released.push(card.get_by_role("button", name="Release"))
    expect(card.locator(".state-good")).to_be_visible()
    expect(page.locator(".live-stopped")).to_have_count(0)


def choose(person: Person, field: Locator, words: str) -> None:
    """An option of a list by typing the beginning of its words."""
    person.reach(field)
    person.page.keyboard.type(words)
    expect(field.locator("option:checked")).to_contain_text(words)


def import_by_keys(person: Person) -> None:
    """Leads → Import → the file → a trial → the leads, and into the new campaign."""
    page = person.page
    page.on("filechooser", lambda _: None)  # asked for early: the window of the system must not open instead
    page.goto(f"{CLIENT}/leads/")
    person.press("c")
    page.wait_for_url(re.compile("/imports/new"))
    person.reach(page.get_by_label("File"))
    with page.expect_file_chooser() as chooser:
        person.press("Space")
    chooser.value.set_files({"name": "spring.csv", "mimeType": "text/csv", "buffer": LIST.encode()})
    person.push(page.get_by_role("button", name="Read the file"))
    page.wait_for_url(re.compile(r"/imports/\d+$"))
    expect(page.get_by_label(re.compile("Surname")).first).to_have_value("last_name")
    choose(person, page.locator(".map-row", has_text="Firm").locator("select"), "Company")
    person.push(page.get_by_role("button", name="Try"))
    expect(page.locator(".stat", has_text="2").first).to_be_visible()
    expect(page.locator("tbody")).to_contain_text("no address here")
    person.push(page.get_by_role("button", name="Import 2 leads"))
    expect(page.locator(".state-head")).to_contain_text("Done")
    choose(person, page.locator("select.import-to"), NEW)
    person.push(page.get_by_role("button", name="Add to campaign"))
    page.wait_for_url(re.compile(r"/campaigns/\d+/people"))
    expect(page.locator("tbody tr")).to_have_count(2)


def schedule_by_keys(person: Person) -> None:
    """All hours of all days, one mailbox."""
    page = person.page
    person.push(page.get_by_role("link", name="Continue"))
    page.wait_for_url(re.compile("/schedule"))
    for day in range(7):
        person.fill(page.locator(f"#day-{day}"), "00:00-24:00")
    tick = page.get_by_label("ada.lindner@emberdemo.test")
    if not tick.is_checked():
        person.push(tick, "Space")
    expect(tick).to_be_checked()
    person.push(page.get_by_role("button", name="Save and continue"))
    page.wait_for_url(re.compile("/steps"))


def write_by_keys(person: Person) -> None:
    page = person.page
    person.push(page.locator(".starter button").first)
    page.locator("form.step-form").wait_for()
    person.fill(page.get_by_label("Subject"), "Spring at {{ company }}")
    expect(page.locator("#preview")).to_contain_text("Spring at Quiet Harbour")
    person.push(page.get_by_role("button", name="Save and continue"))
    page.wait_for_url(re.compile("/launch"))


def test_a_new_campaign_from_a_csv_file_by_keys_alone_reaches_its_first_receiver(person: Person, world: World, house: House) -> None:
    page = person.page
    page.goto(f"{CLIENT}/campaigns/")
    person.press("c")
    page.wait_for_url(re.compile("/campaigns/new"))
    expect(page.get_by_label("Name of the campaign")).to_be_focused()
    page.keyboard.type(NEW)
    person.press("Enter")
    page.wait_for_url(re.compile(r"/campaigns/\d+/people"))
    import_by_keys(person)
    schedule_by_keys(person)
    write_by_keys(person)
    start = page.get_by_role("button", name=re.compile(r"^Start: 2 leads, first mail"))
    expect(start).to_be_enabled()
    expect(page.locator(".chart rect").first).to_be_visible()
    person.push(start)
    expect(page.locator(".state-head")).to_contain_text("Running")
    wait_for("the first mail of the new campaign", lambda: world.accepted(FIRST), 90, logs=house.logs)
    assert [one["subject"] for one in world.accepted(FIRST)] == ["Spring at Quiet Harbour"]
    expect(page.locator(".stat", has_text="Contacted").locator(".stat-value")).not_to_have_text("0", timeout=20_000)
