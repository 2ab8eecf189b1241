// The page's one script: what is decided, what a model writes, keys. Texts are set as texts, or come escaped from the server.

const $ = (selector, from = document) => from.querySelector(selector);
const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
const token = $("meta[name=token]").content;

function tell(words, seconds = 6) {
  const told = $("#told");
  told.textContent = words;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { told.textContent = ""; }, 1000 * seconds);
}

function ask(path, body, signal) {
  return fetch(path, { method: "POST", signal, body: JSON.stringify(body),
    headers: { "content-type": "application/json", "x-magpie-token": token } });
}

const failure = ({ error, next }) => [error, next].filter(Boolean).map((text) => text.replace(/\.?\s*$/, ".")).join(" Next: ");

async function answer(path, body) {
  let response;
  try {
    response = await ask(path, body);
  } catch {
    throw new Error("The server of this page does not answer. Is `magpie-ollama serve` still running?");
  }
  const found = (response.headers.get("content-type") || "").includes("json")
    ? await response.json() : { error: await response.text() };
  if (!response.ok && response.status !== 409) throw new Error(failure(found));
  return found;
}

const typing = (element) => element.closest("input, textarea, select, [contenteditable]");

// ---- corpus

function corpus(room) {
  const base = room.dataset.corpus;
  const wide = matchMedia("(min-width: 50.01rem)");
  const fold = () => { for (const one of $$("[data-wide-open]")) one.open = wide.matches; };
  fold();
  wide.addEventListener("change", fold);

  for (const select of $$("[data-submits]")) {
    let keyed = false;  // an arrow key changes it at once: who uses keys goes on to the button
    select.addEventListener("keydown", () => { keyed = true; });
    select.addEventListener("pointerdown", () => { keyed = false; });
    select.addEventListener("change", () => { if (!keyed) select.form.submit(); });
  }
  $("[data-back]")?.addEventListener("click", (event) => { event.preventDefault(); history.back(); });
  const follow = $("[data-follow]");
  if (follow) location.replace(follow.href);

  const records = () => $$(".record");
  const current = () => document.activeElement.closest?.(".record") || null;

  function go(step) {
    const all = records();
    const at = all.indexOf(current());
    const to = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step];
    if (to) { to.focus({ preventScroll: true }); to.scrollIntoView({ block: "nearest" }); }
    else if (step > 0) $("[rel=next]")?.focus();
  }

  function show(news) {
    const names = { drop: "to drop", edit: "edited", tag: "tagged", keep: "to keep" };
    const parts = Object.keys(names).filter((name) => news.pending[name])
      .map((name) => `${news.pending[name].toLocaleString("en")} ${names[name]}`);
    $("#pending").hidden = !parts.length;
    $("#decided").textContent = parts.join(", ");
    const more = news.count - Number(room.dataset.count);
    $("#count").textContent = `${news.count.toLocaleString("en")} record${news.count === 1 ? "" : "s"}`;
    if ($("#share")) $("#share").textContent = Math.round(100 * news.share);
    const line = $("#more");
    line.hidden = more === 0 && String(news.generation) === room.dataset.generation;
    if (!line.hidden) {
      line.replaceChildren(more > 0 ? `${more.toLocaleString("en")} more. ` : "The file has changed. ");
      const link = document.createElement("a");
      link.href = location.href;
      link.textContent = "Show them";
      line.append(link);
    }
  }

  const asked = $("[type=search]").value.trim().split(/\s+/).filter(Boolean);
  function highlight() {
    if (!asked.length || !globalThis.Highlight) return;
    const pattern = new RegExp(asked.map((word) => word.replace(/[^\p{L}\p{N}]/gu, "\\$&")).join("\\s+"), "gi");
    const found = new Highlight();
    for (const words of $$(".words")) {
      const node = words.firstChild;
      for (const { index, 0: hit } of (node?.data || "").matchAll(pattern)) {
        const range = new Range();
        range.setStart(node, index);
        range.setEnd(node, index + hit.length);
        found.add(range);
      }
    }
    CSS.highlights.set("asked", found);
  }
  highlight();

  function replace(record, text) {
    const made = document.createElement("template");
    made.innerHTML = text;  // the server's own, every text in it escaped
    const fresh = $(".record", made.content);
    record.replaceWith(fresh);
    highlight();
    return fresh;
  }

  let decided = 0;
  async function decide(record, action, more = {}) {
    const { entry, mark, seen } = record.dataset;
    try {
      const found = await answer(`${base}/decide`, { entry: +entry, mark, seen: +seen, action, ...more });
      decided += 1;
      const there = record.contains(document.activeElement);  // not on the next one by now
      const fresh = replace(record, found.record);
      if (there) fresh.focus({ preventScroll: true });
      show(found);
      if (found.error) tell(found.error);
      return !found.error;
    } catch (error) {
      tell(error.message, 12);
      return false;
    }
  }

  function edit(record) {
    const editable = $$("[data-place]", record);
    if (!editable.length || $("textarea", record)) return;
    const areas = editable.map((text) => {
      const area = document.createElement("textarea");
      const words = $(".whole", text);
      area.value = text.dataset.exact ? JSON.parse(text.dataset.exact) : words.textContent;  // shown are escapes, and spaces for tabs
      area.dataset.was = area.value;
      area.dir = "auto";
      area.lang = words.lang;
      area.setAttribute("aria-label", $(".role", text).firstChild.textContent.trim());
      area.dataset.place = text.dataset.place;
      area.rows = Math.min(24, 2 + area.value.length / 90 + area.value.split("\n").length);
      for (const part of [...text.children].slice(1)) part.hidden = true;
      text.append(area);
      return area;
    });
    const buttons = document.createElement("p");
    const save = Object.assign(document.createElement("button"), { type: "button", className: "primary", textContent: "Save" });
    const leave = Object.assign(document.createElement("button"), { type: "button", textContent: "Leave it" });
    buttons.append(save, " ", leave);
    record.querySelector("footer").before(buttons);
    const end = () => {
      for (const area of areas) {
        for (const part of area.parentElement.children) part.hidden = false;
        area.remove();
      }
      buttons.remove();
      record.focus({ preventScroll: true });
    };
    const keep = async () => {
      let now = record;
      for (const area of areas) {
        if (area.value === area.dataset.was) continue;
        const more = { place: JSON.parse(area.dataset.place), text: area.value };
        const at = now.dataset.entry;
        if (!(await decide(now, "edit", more))) return;
        now = $(`.record[data-entry="${at}"]`);
      }
      if (now === record) end();
    };
    save.addEventListener("click", keep);
    leave.addEventListener("click", end);
    for (const area of areas) area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") end();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); keep(); }
    });
    areas.at(-1).focus();
    buttons.scrollIntoView({ block: "nearest" });
  }

  const tagging = $("#tagging");
  const { tag, value } = $("form", tagging).elements;
  const suggest = () => value.setAttribute("list", `values-${tag.value}`);
  tag.addEventListener("change", suggest);
  suggest();
  let tagged = null;
  tagging.addEventListener("close", () => { if (tagging.returnValue) decide(tagged, "tag", { name: tag.value, value: value.value.trim() }); });
  function label(record) {
    tagged = record;
    tagging.returnValue = value.value = "";
    tagging.showModal();
  }

  const act = (record, action) => ({ edit, tag: label }[action] || decide)(record, action);

  $("#records").addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) act(button.closest(".record"), button.dataset.act);
  });

  $("#undo").addEventListener("click", async () => {
    try { await answer(`${base}/undo`, {}); location.reload(); } catch (error) { tell(error.message); }
  });
  $("#apply").addEventListener("click", async () => {
    try {
      const found = await answer(`${base}/apply`, {});
      sessionStorage.setItem("told", found.told);
      location.href = location.pathname;
    } catch (error) { tell(error.message, 12); }
  });

  $("#show-keys").addEventListener("click", () => $("#help").showModal());
  const keys = $("#keys");
  keys.checked = localStorage.getItem("keys") !== "off";
  keys.addEventListener("change", () => localStorage.setItem("keys", keys.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || $("dialog[open]")) return;
    if (!keys.checked && event.key !== "?") return;
    const record = current();
    const does = { n: () => go(1), p: () => go(-1), "/": () => $("[type=search]").focus(), "?": () => $("#help").showModal() };
    const here = { k: "keep", d: "drop", e: "edit", t: "tag", u: "undo" };
    if (does[event.key]) does[event.key]();
    else if (record && here[event.key]) act(record, here[event.key]);
    else if (record && event.key === "i") { const one = $(".fields", record); one.open = !one.open; }
    else return;
    event.preventDefault();
  });

  setInterval(async () => {
    if (document.hidden) return;
    const before = decided;
    try {
      const news = await (await fetch(`${base}/news`)).json();
      if (before === decided) show(news);  // else it is older than what is shown
    } catch { /* the next look will tell */ }
  }, 2500);
  const told = sessionStorage.getItem("told");
  if (told) { sessionStorage.removeItem("told"); tell(told, 12); }
}

// ---- try

function tries(form) {
  const server = $("#server");
  let running = null;

  async function models() {
    clearTimeout(models.timer);
    try {
      const found = await answer("/try/models", { server: form.server.value });
      $("#models").replaceChildren(...found.models.map((name) => Object.assign(document.createElement("option"), { value: name })));
      server.hidden = !found.notice;
      server.textContent = found.notice || "";
      const field = $("[name=model]", form);
      if (!field.value && found.models.length) for (const one of $$("[name=model]", form)) one.value ||= found.models[0];
    } catch (error) {
      server.hidden = false;
      server.textContent = `${error.message} This page looks again by itself.`;
      models.timer = setTimeout(models, 4000);
    }
  }
  form.server.addEventListener("change", () => { for (const one of $$("[name=model]", form)) one.value = ""; models(); });
  form.two.addEventListener("change", () => { $("[data-side=right]").hidden = !form.two.checked; });
  models();

  const asked = (side) => {
    const way = $(`[data-side=${side}]`);
    return { server: form.server.value, language: form.language.value, topics: form.topics.value, model: $("[name=model]", way).value,
      steering: $("[name=steering]", way).value, temperature: Number($("[name=temperature]", way).value) };
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    $("#go").ariaDisabled = true;  // "disabled" would take the focus away
    $("#stop").hidden = false;
    $("#hint").hidden = true;
    const pair = document.createElement("div");
    pair.className = "pair";
    $("#tries").prepend(pair);
    const seed = Math.floor(2 ** 30 * Math.random());  // the same for both: only what was chosen differs
    await Promise.all((form.two.checked ? ["left", "right"] : ["left"]).map((side) => one(pair, { ...asked(side), seed }, running.signal)));
    running = null;
    $("#go").ariaDisabled = false;
    $("#stop").hidden = true;
  });
  $("#stop").addEventListener("click", () => running?.abort());

  async function one(pair, way, signal) {
    const shown = $("#one").content.cloneNode(true).firstElementChild;
    pair.append(shown);
    $("h2", shown).textContent = [way.model || way.server, way.steering, `at ${way.temperature.toFixed(1)}`].join(" · ");
    const words = { instruction: $(".instruction .words", shown), response: $(".response .words", shown) };
    for (const one of Object.values(words)) one.lang = way.language;
    const verdict = $(".verdict", shown);
    const end = (kind, text) => {
      verdict.className = `verdict ${kind}`;
      verdict.textContent = text;
      for (const one of Object.values(words)) one.parentElement.hidden = !one.textContent;
    };
    const take = (event) => {
      if (event.step !== undefined) $(".step", shown).textContent = event.step;
      if (event.command) $("code", shown).textContent = event.command;
      if (event.notices?.length) $(".step", shown).textContent = event.notices.join(" ");
      if (event.prompt) {
        const sent = $(".sent", shown);
        sent.replaceChildren(...event.prompt.map(([kind, text]) =>
          Object.assign(document.createElement("mark"), { className: kind, textContent: text, title: kind })));
        $(".prompt", shown).hidden = false;
        sent.scrollTop = sent.scrollHeight;  // where the model goes on
      }
      for (const of of ["instruction", "response"]) if (event[of] !== undefined) words[of].textContent = event[of].trimStart();
      if (event.rejected) end("rejected", `Rejected: ${event.rejected.replaceAll("_", " ")} — ${event.words}`);
      if (event.error) end("failed", failure(event));
      if (event.kept) {
        const { kept } = event;
        words.instruction.textContent = kept.instruction;
        words.response.textContent = kept.response;
        const measured = [["confidence", kept.confidence], ["known words", kept.known_words]].filter(([, value]) => value)
          .map(([name, value]) => `${name} ${value.toFixed(2)}`);
        end("kept", ["Passed the whole screen", ...measured].join(" · "));
        keeping(shown, kept);
      }
    };
    try {
      const response = await ask("/try/attempt", way, signal);
      if (!response.ok) { const found = await response.json(); take(found); return; }
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (let got = await reader.read(); !got.done; got = await reader.read()) {
        const all = (rest + got.value).split("\n");
        rest = all.pop();
        for (const line of all) take(JSON.parse(line));
      }
      if (!verdict.textContent) end("failed", "Nothing came of it.");
    } catch (error) {
      end("failed", signal.aborted ? "Stopped." : "The stream broke off. Is `magpie-ollama serve` still running?");
    }
  }

  function keeping(shown, kept) {
    const footer = $("footer", shown);
    footer.hidden = false;
    const send = async (button, body) => {
      try {
        tell((await answer("/try/keep", { id: kept.id, ...body })).told);
        button.disabled = true;
        if (body.action === "up" || body.action === "down") for (const one of $$("[data-keep=up], [data-keep=down]", footer)) one.disabled = true;
        if (body.action === "edit") $("[data-keep=keep]", footer).disabled = true;
        button.setAttribute("aria-pressed", "true");
        return true;
      } catch (error) { tell(error.message, 10); return false; }
    };
    footer.addEventListener("click", (event) => {
      const button = event.target.closest("[data-keep]");
      if (!button) return;
      if (button.dataset.keep !== "edit") { send(button, { action: button.dataset.keep }); return; }
      const words = $(".response .words", shown);
      const area = Object.assign(document.createElement("textarea"), { value: kept.exact, dir: "auto", lang: words.lang, rows: 8 });
      area.setAttribute("aria-label", "response");
      const save = Object.assign(document.createElement("button"), { type: "button", className: "primary", textContent: "Save the edited response" });
      const leave = Object.assign(document.createElement("button"), { type: "button", textContent: "Leave it" });
      const both = document.createElement("div");
      both.append(area, save, " ", leave);
      words.hidden = true;
      button.disabled = true;
      words.after(both);
      area.focus();
      const done = () => { both.remove(); words.hidden = false; };
      const left = () => { done(); button.disabled = false; button.focus(); };
      leave.addEventListener("click", left);
      save.addEventListener("click", async () => {
        if (await send(button, { action: "edit", text: area.value })) { words.textContent = kept.exact = area.value; done(); }
      });
      area.addEventListener("keydown", (pressed) => {
        if (pressed.key === "Escape") left();
        if (pressed.key === "Enter" && (pressed.ctrlKey || pressed.metaKey)) save.click();
      });
    });
  }
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    tell("Copied");
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    tell("Selected: copy it with the keyboard");
  }
});

if ($("[data-corpus]")) corpus($("[data-corpus]"));
if ($("#try")) tries($("#try"));
