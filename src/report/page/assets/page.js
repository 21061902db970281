// Refreshes the parts of a page that change, while somebody looks at it. Everything works without this script.
"use strict";

(() => {
  const PERIOD = 10_000;
  const DEADLINE = 8_000;

  const parts = () => document.querySelectorAll("[data-refresh]");
  if (parts().length === 0) return;
  const told = document.querySelector(".refresh");
  const pause = document.querySelector(".pause");
  let paused = false;
  let lastTry = Date.now();
  let failedSince = null;

  // A part with selected text is left alone: somebody is copying it.
  const isSelected = (part) => {
    const selection = getSelection();
    return selection.rangeCount > 0 && !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(part);
  };

  // The same element in the new content: by id, else the link with the same address and position among those.
  const twin = (focused, old, part) => {
    if (focused.id) return part.querySelector("#" + CSS.escape(focused.id));
    const same = (within) =>
      [...within.querySelectorAll(focused.localName)].filter((other) => other.getAttribute("href") === focused.getAttribute("href"));
    const index = same(old).indexOf(focused);
    return same(part)[index] || same(part)[0] || null;
  };

  const replace = (part, update) => {
    if (isSelected(part) || part.isEqualNode(update)) return;
    const content = document.importNode(update, true);
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const next = focused && twin(focused, part, content);
    part.replaceChildren(...content.childNodes);
    if (next) next.focus({ preventScroll: true });
  };

  const say = (text) => {
    if (told.textContent !== text) told.textContent = text;
    told.hidden = text === "";
  };

  const refresh = async () => {
    if (paused || document.hidden || Date.now() - lastTry < PERIOD / 2) return;
    lastTry = Date.now();
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(DEADLINE), cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const update = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (paused) return;
      for (const part of parts()) {
        const newer = update.getElementById(part.id);
        if (newer) replace(part, newer);
      }
      document.title = update.title;
      failedSince = null;
      say("");
    } catch {
      failedSince = failedSince || new Date().toISOString().slice(11, 19);
      say("Not updated since " + failedSince + " UTC: no answer");
    }
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Resume updates" : "Pause updates";
    if (!paused) refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, PERIOD);

  // Keeps addresses short: fields without a value say nothing.
  const form = document.querySelector("form.filters");
  if (form) {
    form.addEventListener("formdata", (event) => {
      for (const [name, value] of [...event.formData]) {
        if (value === "") event.formData.delete(name);
      }
    });
  }
})();
