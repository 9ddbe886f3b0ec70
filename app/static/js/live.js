// One live stream per browser: the tab that holds the lock reads it and tells the others. Topics arrive as events on <body>, where
// fragments wait with hx-trigger="conversation-42 from:body" and fetch again with their own rights. Nothing of content travels.
"use strict";
(() => {
  const body = document.body;
  const url = body.dataset.stream;
  if (!url) return;
  const client = Number(body.dataset.client) || null;
  const dot = document.getElementById("live-dot");
  const word = dot && dot.querySelector(".live-word");
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("emberpost-live") : null;
  const POLL_MS = 15000;
  const QUIET_MS = 45000;  // three missed heartbeats: the line is dead although nobody said so
  let polling = null;

  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  function show(state, latency) {
    if (!dot) return;
    dot.dataset.state = state;
    const words = { live: body.dataset.textLive + (latency ? `, ${latency} ms` : ""), polling: body.dataset.textPolling };
    word.textContent = words[state] || body.dataset.textConnecting;
    if (state === "live" && polling) { clearInterval(polling); polling = null; }
    if (state === "polling" && !polling) polling = setInterval(() => raise("resync"), POLL_MS);
  }
  function raise(topic) {
    body.dispatchEvent(new CustomEvent(topic, { bubbles: false, detail: { topic } }));
  }
  function hear(message) {
    if (message.state) show(message.state, message.latency);
    if (message.topic && (!message.client || !client || message.client === client)) raise(message.topic);
  }
  function tell(message) {
    hear(message);
    if (channel) channel.postMessage(message);
  }
  if (channel) channel.onmessage = (event) => hear(event.data);

  async function lead() {
    let failures = 0;
    for (;;) {
      const begun = performance.now();
      const stop = new AbortController();
      let watchdog = setTimeout(() => stop.abort(), QUIET_MS);
      try {
        const answer = await fetch(url, { headers: { Accept: "text/event-stream" }, signal: stop.signal, cache: "no-store" });
        if (answer.status === 401 || answer.redirected) { tell({ state: "polling" }); return; }
        if (!answer.ok) throw new Error(String(answer.status));
        tell({ state: "live", latency: Math.round(performance.now() - begun) });
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          failures = 0;
          clearTimeout(watchdog);
          watchdog = setTimeout(() => stop.abort(), QUIET_MS);
          const blocks = (rest + value).split("\n\n");
          rest = blocks.pop();
          for (const block of blocks) read(block);
        }
      } catch { failures += 1; } finally { clearTimeout(watchdog); }
      tell({ state: failures > 2 ? "polling" : "connecting" });
      await pause(Math.min(30000, 400 * 2 ** Math.min(failures, 6)) * (0.7 + Math.random() * 0.6));
    }
  }
  function read(block) {
    const lines = Object.fromEntries(block.split("\n").filter((line) => line.includes(": ")).map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
    if (!lines.event || lines.event === "ping") return;
    let client_id = null;
    try { client_id = JSON.parse(lines.data || "{}").client_id || null; } catch { /* a topic without data concerns everybody */ }
    tell({ topic: lines.event, client: client_id });
  }

  if (navigator.locks && channel) {
    // whoever gets the lock leads until the tab closes; the next tab in line then reconnects and hears `resync` first
    navigator.locks.request("emberpost-live", () => lead());
    navigator.locks.query().then((state) => {
      const led = (state.held || []).some((lock) => lock.name === "emberpost-live");
      if (led) show("live");
    });
  } else {
    lead();
  }
})();
