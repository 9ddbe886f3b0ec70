// The inbox's comfort: panes without a reload, keys, live changes that lose neither scroll nor selection nor typed text, undo.
// Each link and form here works without it; nothing is decided in it, and whatever it shows was rendered by the server.
"use strict";
(() => {
  const inbox = document.getElementById("inbox");
  if (!inbox) return;
  const body = document.body;
  const listPane = document.getElementById("inbox-list");
  const threadPane = document.getElementById("inbox-thread");
  const ember = window.ember;
  const base = inbox.dataset.base;
  const get = (id) => document.getElementById(id);
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));
  const phone = window.matchMedia("(max-width: 760px)");
  const MARKS = { "HX-Request": "true", "HX-Request-Type": "partial" };

  // ---- asking the server
  async function ask(url, options = {}) {
    let answer;
    try {
      answer = await fetch(url, { credentials: "same-origin", ...options, headers: { ...MARKS, "HX-Current-URL": location.href, ...(options.headers || {}) } });
    } catch {
      ember.toast(body.dataset.textOffline);
      return null;
    }
    if (answer.status === 401) {
      ember.toLogin(answer.headers.get("HX-Redirect"));
      return null;
    }
    return answer;
  }
  async function part(url, name) {
    const full = new URL(url, location.href);
    full.searchParams.set("part", name);
    full.hash = "";
    const answer = await ask(full);
    if (!answer) return null;
    if (!answer.ok) return { status: answer.status, html: null };
    const found = new DOMParser().parseFromString(await answer.text(), "text/html");
    return { status: answer.status, html: found.body };
  }

  // ---- putting fresh rows beside those that did not change
  function patch(old, fresh) {
    const known = new Map(Array.from(old.children).filter((node) => node.id).map((node) => [node.id, node]));
    let at = old.firstElementChild;
    for (const next of Array.from(fresh.children)) {
      const mine = known.get(next.id);
      let node = next;
      if (mine && mine.tagName === next.tagName) {
        if (mine.tagName === "UL") { patch(mine, next); node = mine; }
        else if (mine.dataset.v === next.dataset.v) { node = mine; if (next.hasAttribute("aria-current")) mine.setAttribute("aria-current", "true"); else mine.removeAttribute("aria-current"); }
        else keepState(mine, next);
      }
      if (node === at) { at = at.nextElementSibling; continue; }
      old.insertBefore(document.adoptNode(node), at);
      if (mine && mine !== node) { if (mine === at) at = at.nextElementSibling; mine.remove(); }
    }
    while (at) { const gone = at; at = at.nextElementSibling; gone.remove(); }
  }
  function keepState(old, fresh) {
    const tick = old.querySelector("input[data-tick]");
    const other = fresh.querySelector("input[data-tick]");
    if (tick && other && tick.checked) { other.checked = true; fresh.setAttribute("data-ticked", ""); }
    const fold = old.querySelector(":scope > .message-fold");
    const freshFold = fresh.querySelector(":scope > .message-fold");
    if (fold && freshFold && fold.open) freshFold.open = true;
    if (old.contains(document.activeElement) && document.activeElement.matches(".conversation-link")) {
      requestAnimationFrame(() => { const link = fresh.querySelector(".conversation-link"); if (link) link.focus({ preventScroll: true }); });
    }
  }
  function holding(scroller, selector, change) {
    const top = scroller.getBoundingClientRect().top;
    const anchor = scroller.scrollTop > 0 ? all(selector, scroller).find((node) => node.getBoundingClientRect().bottom > top) : null;
    const before = anchor ? anchor.getBoundingClientRect().top : 0;
    const id = anchor && anchor.id;
    change();
    const after = id && get(id);
    if (after) scroller.scrollTop += after.getBoundingClientRect().top - before;
  }

  // ---- the list
  let listUrl = inbox.dataset.url;
  let rowsWanted = 0;
  let listTurn = 0;
  let showing = 0;
  async function refreshList() {
    if (showing) { soon(refreshList); return; }  // what a person asked for goes before what arrived meanwhile
    const turn = ++listTurn;
    const url = new URL(listUrl, location.href);
    if (rowsWanted) url.searchParams.set("n", String(rowsWanted));
    const found = await part(url, "list");
    if (!found || !found.html || turn !== listTurn) return;
    const freshRows = found.html.querySelector("#inbox-rows");
    const rows = get("inbox-rows");
    markOpen(found.html);
    swap(".scopes", found.html);
    const bar = listPane.querySelector(".list-bar");
    if (!freshRows || !rows || Boolean(bar) !== Boolean(found.html.querySelector(".list-bar"))) swap("#inbox-many", found.html);
    else holding(rows, ".conversation", () => patch(rows, freshRows));
    const ticks = listPane.querySelector("[data-ticks]");
    if (ticks) ember.showTicks(ticks);
  }
  function swap(selector, fresh) {
    const mine = listPane.querySelector(selector);
    const next = fresh.querySelector(selector);
    if (!mine || !next || mine.innerHTML === next.innerHTML) return;
    const focused = mine.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    mine.replaceWith(document.adoptNode(next));
    if (focused) { const link = all("a", next).find((one) => one.getAttribute("href") === focused); if (link) link.focus(); }
  }
  function markOpen(root) {
    const open = inbox.dataset.open;
    all(".conversation", root).forEach((row) => { if (row.dataset.id === open) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current"); });
  }
  async function showList(url, { push = true, keepSearch = false } = {}) {
    const turn = ++listTurn;
    showing += 1;
    const found = await part(url, "list").finally(() => { showing -= 1; });
    if (!found || !found.html || turn !== listTurn) return;
    listUrl = String(url);
    rowsWanted = 0;
    markOpen(found.html);
    const typed = get("inbox-q");
    for (const child of [".scopes", "#inbox-many"]) swap(child, found.html);
    const chips = listPane.querySelector(".list-chips");
    if (chips) chips.remove();
    const fresh = found.html.querySelector(".list-chips");
    if (fresh) get("inbox-many").before(document.adoptNode(fresh));
    if (!keepSearch && typed) typed.value = new URL(url, location.href).searchParams.get("q") || "";
    all("details[data-menu][open]", listPane).forEach((menu) => { menu.open = false; });
    const rows = get("inbox-rows");
    if (rows) rows.scrollTop = 0;
    if (push) history.pushState(null, "", inbox.dataset.open ? threadUrl(inbox.dataset.open) : url);
  }
  function threadUrl(id) {
    return `${base}${id}${new URL(listUrl, location.href).search}`;
  }

  // ---- the thread
  const heard = new Set();
  let threadTurn = 0;
  let opening = 0;
  function listenTo(id) {
    if (!id || heard.has(id)) return;
    heard.add(id);
    body.addEventListener(`conversation-${id}`, () => { if (inbox.dataset.open === id) soon(refreshThread); });
  }
  async function openThread(id, { push = true, query = "" } = {}) {
    const turn = ++threadTurn;
    const url = threadUrl(id) + query;
    keepDraft();
    inbox.dataset.open = String(id);
    markOpen(listPane);
    opening += 1;
    const found = await part(url, "thread").finally(() => { opening -= 1; });
    if (!found || turn !== threadTurn) return;
    if (!found.html) { closeThread(); if (found.status === 404) refreshList(); return; }
    threadPane.replaceChildren(...Array.from(found.html.childNodes).map((node) => document.adoptNode(node)));
    if (push && location.pathname !== `${base}${id}`) history.pushState(null, "", threadUrl(id));
    if (phone.matches) window.scrollTo(0, 0);
    opened();
  }
  function opened() {
    const id = inbox.dataset.open;
    listenTo(id);
    restoreDraft();
    grow();
    all("[data-frame]", threadPane).forEach(watchFrame);
    toNewest();
    markRead();
  }
  function toNewest() {
    const scroller = get("thread-scroll");
    const last = scroller && scroller.querySelector(".message:last-child");
    if (!last) return;
    if (phone.matches) { last.scrollIntoView({ block: "start" }); return; }  // there the page scrolls, not the pane
    const room = last.getBoundingClientRect().top - scroller.getBoundingClientRect().top - 12;
    scroller.scrollTop = last.offsetHeight > scroller.clientHeight ? scroller.scrollTop + room : scroller.scrollHeight;
  }
  function closeThread({ push = true } = {}) {
    threadTurn += 1;
    keepDraft();
    const before = inbox.dataset.open;
    inbox.dataset.open = "";
    threadPane.replaceChildren(get("none").content.cloneNode(true));
    markOpen(listPane);
    if (push) history.pushState(null, "", listUrl);
    const row = before && get(`c-${before}`);
    if (row) row.querySelector(".conversation-link").focus({ preventScroll: true });
  }
  async function refreshThread(query = "") {
    const id = inbox.dataset.open;
    if (!id) return;
    if (opening) { soon(refreshThread); return; }  // what a person opens goes before what arrived meanwhile, or its address would be missing
    const turn = ++threadTurn;
    const found = await part(threadUrl(id) + query, "thread");
    if (!found || turn !== threadTurn || inbox.dataset.open !== id) return;
    if (!found.html) { if (found.status === 404) closeThread(); return; }
    const old = threadPane.querySelector(".thread");
    const fresh = found.html.querySelector(".thread");
    if (!old || !fresh || old.id !== fresh.id) {
      threadPane.replaceChildren(...Array.from(found.html.childNodes).map((node) => document.adoptNode(node)));
      opened();
      return;
    }
    patchThread(old, fresh);
  }
  function patchThread(old, fresh) {
    old.dataset.status = fresh.dataset.status;
    old.dataset.unread = fresh.dataset.unread;
    for (const id of ["thread-head", "thread-facts"]) {
      const mine = get(id);
      if (!mine.querySelector("details[open]")) replaceKeepingFocus(mine, fresh.querySelector(`#${id}`));
    }
    const decide = get("decide");
    const freshDecide = fresh.querySelector("#decide");
    if (decide && !freshDecide) decide.remove();
    const scroller = get("thread-scroll");
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 60;
    const count = all(".message", scroller).length;
    patch(get("messages"), fresh.querySelector("#messages"));
    all("[data-frame]", threadPane).forEach(watchFrame);
    if (all(".message", scroller).length > count) {
      if (atEnd && !phone.matches) toNewest(); else old.querySelector("[data-new-below]").hidden = false;
    }
    const text = get("answer-text");
    const composer = get("composer");
    const idle = !composer.contains(document.activeElement) && !(text && text.value.trim()) && !(get("answer-files") && get("answer-files").files.length);
    if (idle) composer.replaceWith(document.adoptNode(fresh.querySelector("#composer")));
    markRead();
  }
  function replaceKeepingFocus(mine, next) {
    if (!next || mine.innerHTML === next.innerHTML) return;
    const key = mine.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    mine.replaceWith(document.adoptNode(next));
    const again = key && next.querySelector(`[data-key="${key}"]`);
    if (again) again.focus();
  }
  function markRead() {
    const form = threadPane.querySelector('form[data-mark="read"]');
    if (form && document.visibilityState === "visible" && !form.dataset.sent) {
      form.dataset.sent = "1";
      send(form, null, { quiet: true });
    }
  }
  document.addEventListener("visibilitychange", markRead);

  // ---- live: at once, then at most every 300 ms
  const waiting = new Map();
  function soon(action) {
    const state = waiting.get(action) || { last: 0, timer: null };
    waiting.set(action, state);
    if (state.timer) return;
    const wait = Math.max(0, state.last + 300 - performance.now());
    state.timer = setTimeout(() => { state.timer = null; state.last = performance.now(); action(); }, wait);
  }
  const refreshOpen = () => refreshThread();
  body.addEventListener("inbox", () => soon(refreshList));
  body.addEventListener("counters", () => soon(refreshList));
  body.addEventListener("resync", () => { soon(refreshList); soon(refreshOpen); });

  // ---- forms
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-act], [data-many]")) { event.preventDefault(); send(form, event.submitter); }
    else if (form.matches("[data-composer]")) { event.preventDefault(); sendAnswer(form, event.submitter); }
    else if (form.matches("[data-search]")) { event.preventDefault(); search(); }
  });
  async function send(form, button, { quiet = false } = {}) {
    const leaves = form.hasAttribute("data-leaves");
    const next = leaves ? neighbour(1) || neighbour(-1) : null;
    const going = form.getAttribute("action").endsWith("/unread");
    const answer = await ask(form.getAttribute("action"), { method: "POST", body: new FormData(form, button) });
    all("details[data-menu][open]", threadPane).forEach((menu) => { menu.open = false; });
    if (!answer) return;
    if (!answer.ok) { ember.toast(await words(answer)); return; }
    if (form.matches("[data-many]")) { all("input[data-tick]:checked, input[name=all]:checked", form).forEach((tick) => { tick.checked = false; }); ember.showTicks(form); }
    if (!quiet) done(answer);
    if (leaves && going) closeThread();
    else if (leaves && next && !phone.matches) openThread(next.dataset.id);
    else if (leaves) closeThread();
    else soon(refreshOpen);
    soon(refreshList);
  }
  async function words(answer) {
    const plain = (answer.headers.get("Content-Type") || "").startsWith("text/plain");
    return (plain && (await answer.text())) || body.dataset.textFailed;
  }
  function done(answer) {
    const raised = JSON.parse(answer.headers.get("HX-Trigger") || "{}").inboxdone;
    if (!raised) return;
    if (raised.restore) restore(raised);
    const box = ember.toast(raised.text, raised.undo ? { undo: raised.undo, seconds: 10 } : {});
    const undo = box && box.querySelector("[data-undo]");
    if (!undo) return;
    undo.title = "z";
    undo.addEventListener("click", async (event) => {
      event.stopImmediatePropagation();
      box.remove();
      const form = new FormData();
      form.set("csrf_token", document.querySelector('meta[name="csrf-token"]').content);
      const undone = await ask(raised.undo, { method: "POST", body: form });
      if (!undone) return;
      if (undone.ok) done(undone); else ember.toast(await words(undone));
      soon(refreshList);
      soon(refreshOpen);
    }, true);
  }
  async function restore(raised) {  // the words come back into the composer, with the files that went along
    const url = new URL(raised.restore, location.href);
    const id = (url.pathname.match(/(\d+)$/) || [])[1];
    const text = get("answer-text");
    if (id === inbox.dataset.open && text && text.value.trim()) { text.value = `${raised.words}\n\n${text.value}`; grow(); return; }
    sessionStorage.removeItem(draftKey(id));
    if (id !== inbox.dataset.open) await openThread(id);
    const found = await part(url, "thread");
    const fresh = found && found.html && found.html.querySelector("#composer");
    if (!fresh || !get("composer")) return;
    get("composer").replaceWith(document.adoptNode(fresh));
    const again = get("answer-text");
    if (!again) return;
    grow();
    again.focus();
    again.setSelectionRange(again.value.length, again.value.length);
    keepDraft();
  }
  function neighbour(step) {
    const rows = all(".conversation", listPane);
    const at = rows.findIndex((row) => row.dataset.id === inbox.dataset.open);
    return at < 0 ? null : rows[at + step] || null;
  }

  // ---- the composer
  const draftKey = (id) => `answer:${base}${id}`;
  async function sendAnswer(form, button) {
    const buttons = all("button", form);
    buttons.forEach((one) => { one.disabled = true; });
    const answer = await ask(form.getAttribute("action"), { method: "POST", body: new FormData(form, button) });
    buttons.forEach((one) => { one.disabled = false; });
    if (!answer) return;
    if (answer.status === 422) {
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("answer-error");
      const old = get("answer-error");
      if (old) old.remove();
      if (found) get("answer-text").after(document.adoptNode(found));
      get("answer-text").focus();
      return;
    }
    if (!answer.ok) { ember.toast(await words(answer)); return; }
    sessionStorage.removeItem(draftKey(inbox.dataset.open));
    form.reset();
    get("answer-text").value = "";
    all(".kept, #answer-error", form).forEach((one) => one.remove());
    showChosen();
    get("answer-text").blur();
    grow();
    done(answer);
    await refreshThread();
    toNewest();
    soon(refreshList);
  }
  function keepDraft() {
    const text = get("answer-text");
    const id = threadPane.querySelector(".thread") && threadPane.querySelector(".thread").dataset.conversation;
    if (!text || !id) return;
    if (text.value.trim()) sessionStorage.setItem(draftKey(id), text.value); else sessionStorage.removeItem(draftKey(id));
  }
  function restoreDraft() {
    const text = get("answer-text");
    const kept = sessionStorage.getItem(draftKey(inbox.dataset.open));
    if (text && kept && !text.value) text.value = kept;
  }
  function grow() {
    const text = get("answer-text");
    if (!text) return;
    text.style.height = "auto";
    text.style.height = `${Math.min(text.scrollHeight + 2, window.innerHeight * 0.38)}px`;
  }
  function showChosen() {
    const input = get("answer-files");
    const box = threadPane.querySelector("[data-chosen]");
    if (input && box) box.textContent = Array.from(input.files).map((file) => file.name).join(", ");
  }
  document.addEventListener("input", (event) => {
    if (event.target.id === "answer-text") { grow(); keepDraft(); }
    if (event.target.id === "answer-files") showChosen();
    if (event.target.id === "inbox-q") { clearTimeout(searching); searching = setTimeout(search, 250); }
  });
  document.addEventListener("change", (event) => { if (event.target.id === "answer-files") showChosen(); });
  window.addEventListener("pagehide", keepDraft);

  // ---- search
  let searching = null;
  function search() {
    clearTimeout(searching);
    const q = get("inbox-q").value.trim();
    const url = new URL(base, location.href);
    if (q) url.searchParams.set("q", q);
    showList(url.pathname + url.search, { keepSearch: true });
  }

  // ---- links and the address
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const target = event.target instanceof Element ? event.target : null;
    const link = target && target.closest("a[data-pane], a[data-more]");
    const out = target && target.closest('.message-text a[target="_blank"]');
    if (out) { event.preventDefault(); leave(out.href); return; }
    if (target && target.closest("[data-new-below]")) { target.closest("[data-new-below]").hidden = true; toNewest(); return; }
    if (!link || !inbox.contains(link)) return;
    event.preventDefault();
    if (link.hasAttribute("data-more")) { more(link); return; }
    if (link.dataset.pane === "list") showList(link.getAttribute("href"));
    else if (link.dataset.pane === "none") closeThread();
    else openThread(link.closest(".conversation").dataset.id);
  });
  async function more(link) {
    const count = all(".conversation", listPane).length;
    if (count >= 200) { location.assign(link.href); return; }
    rowsWanted = Math.min(200, count + 40);
    await refreshList();
  }
  window.addEventListener("popstate", () => {
    const id = (location.pathname.match(/\/(\d+)$/) || [])[1];
    const wanted = base + location.search;
    if (wanted !== listUrl) showList(wanted, { push: false });
    if (id) openThread(id, { push: false }); else if (inbox.dataset.open) closeThread({ push: false });
  });

  // ---- HTML messages: as high as their content; links lead out only after a look at where they go
  function watchFrame(frame) {
    if (frame.dataset.watched) return;
    frame.dataset.watched = "1";
    const ready = () => {
      const inner = frame.contentDocument;
      if (!inner || !inner.body || inner.URL === "about:blank") return;
      const fit = () => { frame.style.height = `${Math.ceil(inner.documentElement.offsetHeight || inner.body.scrollHeight)}px`; };
      fit();
      new ResizeObserver(fit).observe(inner.documentElement);
      inner.addEventListener("click", (event) => {
        const link = event.target.closest && event.target.closest("a[href]");
        if (link && !("own" in link.dataset)) { event.preventDefault(); leave(link.href); }
      });
      inner.addEventListener("keydown", (event) => { if (event.key === "Escape") threadPane.querySelector("#thread-scroll").focus(); });
    };
    frame.addEventListener("load", ready);
    ready();
  }
  function leave(address) {
    const dialog = get("leave");
    dialog.querySelector("[data-leave-address]").textContent = address;
    dialog.querySelector("[data-leave]").href = address;
    dialog.showModal();
  }
  get("leave").querySelector("[data-leave]").addEventListener("click", () => get("leave").close());

  // ---- keys (those with a button are pressed by their button; these have none)
  let cursor = inbox.dataset.open;
  function move(step) {
    const rows = all(".conversation", listPane);
    if (!rows.length) return;
    const focused = document.activeElement && document.activeElement.closest(".conversation");
    const here = inbox.dataset.open || (focused && focused.dataset.id) || cursor;
    const at = rows.findIndex((row) => row.dataset.id === here);
    const row = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + step))];
    cursor = row.dataset.id;
    row.querySelector(".conversation-link").focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
    if (inbox.dataset.open && row.dataset.id !== inbox.dataset.open) openThread(row.dataset.id);
  }
  ember.onKey("j", () => move(1));
  ember.onKey("k", () => move(-1));
  ember.onKey("Enter", () => {
    const active = document.activeElement;
    if (active && active !== body && active.matches("a, button, summary, input, [tabindex='0']")) return false;
    if (cursor) openThread(cursor);
    return true;
  });
  ember.onKey("Escape", () => { if (!inbox.dataset.open) return false; closeThread(); return true; });
  ember.onKey("z", () => {
    const undo = all("#toasts [data-undo]").pop();
    if (!undo) return false;
    undo.click();
    return true;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "answer-text") {
      event.preventDefault();
      event.target.form.requestSubmit(event.target.form.querySelector('button[value="now"]'));
    }
    if (event.key === "Escape" && ember.typing(event.target)) event.target.blur();
  });

  // ---- the time left to undo
  setInterval(() => {
    all("[data-countdown]").forEach((word) => {
      const left = Math.max(0, Number(word.dataset.countdown) - 1);
      word.dataset.countdown = String(left);
      word.textContent = word.textContent.replace(/\d+/, String(left));
    });
  }, 1000);

  if (inbox.dataset.open) opened();
})();
