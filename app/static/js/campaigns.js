// Comfort of the campaign pages: painting the week, variables put where the cursor stands. The plain fields are what counts.
"use strict";
(() => {
  const DAY = 1440;
  const STEP = 30;
  const NS = "http://www.w3.org/2000/svg";
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // ---- the week: each lane paints into the text field beside it
  const minutes = (word) => {
    const match = /^(\d{1,2})(?:[:.](\d{2}))?$/.exec(word.trim());
    return match ? Math.min(DAY, Number(match[1]) * 60 + Number(match[2] || 0)) : null;
  };
  const clock = (minute) => `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
  function spansOf(text) {
    const spans = [];
    for (const part of text.split(",")) {
      const [from, to] = part.split(/-|–|—/).map((word) => minutes(word));
      if (from !== null && to !== null && from !== undefined && to !== undefined && from < to) spans.push([from, to]);
    }
    return spans;
  }
  function joined(spans) {
    const result = [];
    for (const [from, to] of spans.sort((a, b) => a[0] - b[0])) {
      const last = result[result.length - 1];
      if (last && from <= last[1]) last[1] = Math.max(last[1], to); else result.push([from, to]);
    }
    return result;
  }
  const without = (spans, from, to) => spans.flatMap(([a, b]) => [[a, Math.min(b, from)], [Math.max(a, to), b]].filter(([x, y]) => x < y));
  function draw(lane, spans) {
    const svg = lane.querySelector("svg");
    all("rect.on", svg).forEach((rect) => rect.remove());
    for (const [from, to] of spans) {
      const rect = document.createElementNS(NS, "rect");
      rect.setAttribute("class", "on");
      rect.setAttribute("x", `${(100 * from) / DAY}%`);
      rect.setAttribute("width", `${(100 * (to - from)) / DAY}%`);
      rect.setAttribute("y", "4");
      rect.setAttribute("height", "26");
      svg.querySelector("rect.lane").after(rect);
    }
  }
  function week(home) {
    const field = (lane) => home.querySelector(`#day-${lane.dataset.lane}`);
    const lanes = all("[data-lane]", home);
    const write = (lane, spans) => { field(lane).value = joined(spans).map(([a, b]) => `${clock(a)}-${clock(b)}`).join(", "); draw(lane, joined(spans)); };
    lanes.forEach((lane) => {
      field(lane).addEventListener("input", () => draw(lane, joined(spansOf(field(lane).value))));
      if (field(lane).readOnly) return;
      lane.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        const at = (place) => {
          const box = lane.getBoundingClientRect();
          return Math.max(0, Math.min(DAY - STEP, Math.floor(((place.clientX - box.left) / box.width) * (DAY / STEP)) * STEP));
        };
        const rowAt = (place) => lanes.find((other) => { const box = other.getBoundingClientRect(); return place.clientY >= box.top && place.clientY <= box.bottom; });
        const begun = at(event);
        const first = lanes.indexOf(lane);
        const before = lanes.map((other) => spansOf(field(other).value));
        const opening = !before[first].some(([a, b]) => begun >= a && begun < b);
        const paint = (place) => {
          const row = rowAt(place);
          const last = row ? lanes.indexOf(row) : first;
          const [from, to] = [Math.min(begun, at(place)), Math.max(begun, at(place)) + STEP];
          lanes.forEach((other, index) => {
            const touched = index >= Math.min(first, last) && index <= Math.max(first, last);
            if (!touched) write(other, before[index]);
            else write(other, opening ? [...before[index], [from, to]] : without(before[index], from, to));
          });
        };
        paint(event);
        lane.setPointerCapture(event.pointerId);
        lane.addEventListener("pointermove", paint);
        lane.addEventListener("lostpointercapture", () => lane.removeEventListener("pointermove", paint), { once: true });
      });
    });
    all("[data-preset]").forEach((button) => button.addEventListener("click", (event) => {
      event.preventDefault();
      button.dataset.preset.split("|").forEach((text, day) => { const lane = lanes[day]; if (lane) write(lane, spansOf(text)); });
    }));
  }
  all("[data-week]").forEach(week);

  // ---- variables go where somebody last typed
  let lastField = null;
  document.addEventListener("focusin", (event) => {
    if (event.target instanceof Element && event.target.matches("[data-template]")) lastField = event.target;
  });
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("[data-variable]") : null;
    if (!button) return;
    const field = lastField && lastField.isConnected ? lastField : document.querySelector("textarea[data-template]");
    if (!field) return;
    field.focus();
    field.setRangeText(button.dataset.variable, field.selectionStart, field.selectionEnd, "end");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
})();
