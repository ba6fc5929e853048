// Puts the fragments that the server sends in place, and keeps relative times true.
"use strict";
(() => {
  const HIDDEN_FOR = 5_000, SILENT_FOR = 25_000, REOPEN_AFTER = 10_000; // ms
  const firstTitle = document.title;
  const pulse = document.getElementById("pulse");
  let source = null, heardAt = Date.now(), hideTimer = 0, ended = "";
  // The difference between this clock and the server's, in ms.
  let offset = Date.now() - Number(document.documentElement.dataset.at) * 1000;

  const key = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || "" : "");
  const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && key(a) === key(b);

  // Whether details are open is the person's. What was typed is no attribute, so it stays by itself.
  const keeps = (node, name) => node.nodeName === "DETAILS" && name === "open";

  function morphAttributes(from, to) {
    for (const { name, value } of [...to.attributes])
      if (from.getAttribute(name) !== value && !keeps(from, name)) from.setAttribute(name, value);
    for (const { name } of [...from.attributes])
      if (!to.hasAttribute(name) && !keeps(from, name)) from.removeAttribute(name);
  }

  function morph(from, to) {
    if (from.nodeType !== 1) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    morphAttributes(from, to);
    if (from.nodeName === "TIME") return; // tick() writes its text
    morphChildren(from, to);
  }

  // Nodes with a key are found again by it; others by their place.
  function morphChildren(from, to) {
    const keyed = new Map([...from.children].filter(key).map((node) => [key(node), node]));
    const wanted = new Set([...to.children].map(key).filter(Boolean));
    let place = from.firstChild;
    for (const next of [...to.childNodes]) {
      while (place && key(place) && !wanted.has(key(place))) {
        const gone = place;
        place = place.nextSibling;
        gone.remove();
      }
      const known = key(next) ? keyed.get(key(next)) : place;
      if (known && same(known, next)) {
        morph(known, next);
        if (known === place) place = place.nextSibling;
        else from.insertBefore(known, place);
      } else {
        from.insertBefore(next, place);
      }
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
  }

  function put({ id, html }) {
    const target = document.getElementById(id);
    if (!target) return;
    const next = document.createElement("div");
    next.innerHTML = html; // rendered and escaped by the server; the policy of the page allows no script
    const focused = document.activeElement;
    morphChildren(target, next);
    if (focused && focused !== document.activeElement && focused.isConnected)
      focused.focus({ preventScroll: true });
  }

  function words(seconds) {
    const s = Math.max(0, Math.floor(seconds));
    if (s < 60) return `${s}s`;
    if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
    if (s < 86400) return `${Math.floor(s / 3600)}h ${Math.floor((s % 3600) / 60)}m`;
    return `${Math.floor(s / 86400)}d ${Math.floor((s % 86400) / 3600)}h`;
  }

  function tick() {
    const now = Date.now() - offset;
    for (const node of document.getElementsByTagName("time")) {
      const text = words((now - Date.parse(node.dateTime)) / 1000) + ("for" in node.dataset ? "" : " ago");
      if (node.textContent !== text) node.textContent = text;
    }
    const silent = Date.now() - heardAt;
    const text = ended || (silent > SILENT_FOR ? `No update for ${words(silent / 1000)}: trying again` : "Live");
    if (pulse.textContent !== text) pulse.textContent = text;
    pulse.className = text === "Live" ? "live" : "late";
    // A tab in the background gets no updates: its title must not go on to say that all is well.
    const title = (silent > SILENT_FOR ? "Old: " : "") + (document.querySelector("[data-title]")?.dataset.title ?? firstTitle);
    if (document.title !== title) document.title = title;
  }

  function open() {
    if (source) return;
    source = new EventSource(location.href);
    source.addEventListener("fragment", (event) => {
      put(JSON.parse(event.data));
      heardAt = Date.now();
      ended = "";
      tick();
    });
    source.addEventListener("beat", (event) => {
      heardAt = Date.now();
      offset = heardAt - JSON.parse(event.data).at * 1000;
    });
    source.addEventListener("gone", (event) => { ended = JSON.parse(event.data).text; });
    source.onerror = () => {
      if (source?.readyState !== 2) return; // the browser tries again by itself
      ended = "No live updates: trying again";
      source = null;
      setTimeout(() => { if (!document.hidden) open(); }, REOPEN_AFTER);
    };
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(hideTimer);
    if (!document.hidden) open();
    else hideTimer = setTimeout(() => { source?.close(); source = null; }, HIDDEN_FOR);
  });
  setInterval(tick, 1000);
  if (document.querySelector("[data-live]") && !document.hidden) open();
  tick();
})();
