// What is live on the page. Everything works without this file; nothing here makes markup of text.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (selector, within = document) => within.querySelector(selector);

  // The reader's own time beside UTC.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "your time";
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const utc = !new Date().getTimezoneOffset();
  const localise = (within) => all("time[datetime]:not([title])", within).forEach((element) => {
    const at = new Date(element.dateTime);
    if (isNaN(at)) return;
    element.title = `${local.format(at)} (${zone})`;
    if (utc || !element.classList.contains("full")) return;
    const beside = document.createElement("span");
    beside.className = "local";
    beside.textContent = ` · ${clock.format(at)} here`;
    element.append(beside);
  });

  // A notice is told once: not again when the page is loaded anew.
  if (one("[data-notice]")) {
    const here = new URL(location.href);
    here.searchParams.delete("done");
    here.searchParams.delete("n");
    history.replaceState(null, "", here);
  }

  const refill = () => all("[data-empty]").forEach((each) => { each.disabled = false; delete each.dataset.empty; });
  // A form is sent once, however often the button is pressed.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") { // what is empty stays out of the address
      all("input, select", form).filter((each) => !each.value).forEach((each) => { each.disabled = true; each.dataset.empty = ""; });
      setTimeout(refill);
      return;
    }
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    all("button", form).forEach((button) => button.setAttribute("aria-disabled", "true"));
  });
  addEventListener("pageshow", (event) => { // back from the next page, as it was left
    if (!event.persisted) return;
    refill();
    all("form").forEach((form) => delete form.dataset.sent);
    all("form button").forEach((button) => button.removeAttribute("aria-disabled"));
  });

  all("[data-select-all]").forEach((place) => {
    place.hidden = false;
    one("input", place).addEventListener("change", (event) =>
      all("input[name=selection]", place.closest("form")).forEach((box) => { box.checked = event.target.checked; }));
  });

  // Take the parts that change from the same page, made anew by the server.
  let loading = null;
  const refresh = async () => {
    loading ??= (async () => {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.redirected) return location.reload(); // signed out meanwhile
      if (!answer.ok) throw new Error(String(answer.status));
      let whole = true;
      const made = new DOMParser().parseFromString(await answer.text(), "text/html");
      all("[data-region]").forEach((old) => {
        const fresh = one(`[data-region="${old.dataset.region}"]`, made);
        if (!fresh) return;
        if (old.contains(document.activeElement) || inUse(old)) { whole = false; return; }
        localise(fresh);
        old.replaceWith(fresh);
      });
      return whole;
    })().finally(() => { loading = null; });
    return loading;
  };
  // What somebody has unfolded, marked or stands on is left alone.
  const inUse = (within) => all("details[open]", within).length > 0
    || (String(getSelection()) !== "" && within.contains(getSelection().anchorNode));

  // A job's progress.
  const poll = async () => {
    const region = one("[data-poll]");
    if (!region) return;
    setTimeout(async () => {
      if (!document.hidden) await refresh().catch(() => {});
      poll();
    }, Number(region.dataset.poll));
  };

  // The stream: lists and pages are made anew when something happens; /live shows it itself.
  const told = (bar, text) => { one("[data-live-said]", bar).textContent = text; };
  const text = (tag, content, kind) => {
    const element = document.createElement(tag);
    element.textContent = content;
    if (kind) element.className = kind;
    return element;
  };
  const unseen = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  const cut = (value, most) => {
    const whole = String(value ?? "");
    const seen = whole.slice(0, most).replace(unseen, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
    return whole.length > most ? `${seen}…` : seen;
  };

  const shown = (kind, about) => {
    const item = document.createElement("li");
    item.className = "fresh";
    const seconds = about.received_at ?? about.started_at;
    const at = seconds ? new Date(seconds * 1000) : new Date();
    const time = text("time", at.toISOString().slice(11, 19), "when");
    time.dateTime = at.toISOString();
    const good = kind === "event" ? about.outcome : about.result === "ok" ? "good" : "bad";
    const mark = text("span", { good: "✓", bad: "✗" }[good] ?? "–", `state state-${{ good: "ok", bad: "bad" }[good] ?? "off"}`);
    mark.setAttribute("aria-hidden", "true");
    const what = text("span", "", "what");
    const link = text("a", "");
    const id = kind === "event" ? about.id : about.event;
    if (id) link.href = `/events/${encodeURIComponent(id)}`;
    const name = document.createElement("bdi");
    name.textContent = cut(about.title, 160);
    link.append(name);
    what.append(link);
    const words = kind === "event"
      ? [about.source, about.type, about.change, about.destinations.length ? `to ${about.destinations.join(", ")}` : "no route"]
      : [about.destination, about.result === "lost" ? "cut short" : about.result.replace("_", " "), about.status, about.result === "ok" ? null : about.state, about.error];
    const rest = text("span", words.filter(Boolean).map((each) => cut(each, 80)).join(" · "), "sub");
    item.append(time, mark, text("span", kind === "event" ? "in" : "out", "tag"), what, rest);
    localise(item);
    return item;
  };

  const MOST = 200;
  const listen = (bar) => {
    const list = one("[data-stream]");
    const kinds = bar.dataset.live === "any" || list ? ["event", "attempt"] : bar.dataset.live.split(" ");
    const pause = list ? 0 : one("[data-region=overview]") ? 3000 : 800;
    const button = one("[data-live-switch]", bar);
    let source = null, timer = null, on = true;
    const changed = () => {
      timer ??= setTimeout(async () => {
        timer = null;
        try {
          told(bar, await refresh() ? `Updated ${clock.format(new Date())}` : "There is something new; it shows once nothing is open or focused here");
        } catch { told(bar, "Could not be updated; trying again"); }
      }, pause);
    };
    const heard = (kind) => (message) => {
      let about = {};
      try { about = JSON.parse(message.data); } catch { return; }
      if (!list) return changed();
      one("[data-stream-empty]").hidden = true;
      list.prepend(shown(kind, about));
      while (list.children.length > MOST) list.lastElementChild.remove();
    };
    const open = () => {
      if (source || !on || document.hidden) return;
      source = new EventSource(list ? list.dataset.stream : "/api/v1/stream");
      kinds.forEach((kind) => source.addEventListener(kind, heard(kind)));
      source.addEventListener("dropped", () => told(bar, "Faster than can be shown: some were left out"));
      source.onopen = () => told(bar, "Connected");
      source.onerror = () => {
        told(bar, "Not connected; trying again");
        if (source?.readyState !== EventSource.CLOSED) return; // it does so by itself
        close();
        setTimeout(open, 15000);
      };
    };
    const close = () => { source?.close(); source = null; };
    button.addEventListener("click", () => {
      on = !on;
      button.setAttribute("aria-pressed", String(on));
      button.textContent = `Live updates: ${on ? "on" : "off"}`;
      told(bar, "");
      if (on) { open(); if (!list) changed(); } else close();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) close(); else { open(); if (!list && on) changed(); }
    });
    addEventListener("pagehide", close);
    bar.hidden = false;
    const section = one("[data-stream-section]");
    if (section) section.hidden = false;
    open();
  };

  localise(document);
  const place = one("[data-zone]");
  if (place && !utc) { place.textContent = `; yours (${zone}) stands beside them`; place.hidden = false; }
  poll();
  all("[data-live]").forEach(listen);
})();
