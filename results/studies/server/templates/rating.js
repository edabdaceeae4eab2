"use strict";
(() => {
  document.body.classList.add("script");
  const typing = (event) => event.target.closest("textarea, summary") || event.ctrlKey || event.metaKey || event.altKey;
  const form = document.getElementById("answer");
  if (!form) {
    addEventListener("keydown", (event) => {
      const target = document.querySelector("[data-default]");
      // Enter on a link or button works without the script.
      if (target && event.key === "Enter" && event.target === document.body) target.click();
    });
    return;
  }

  // Working time: the time during which this page was visible.
  let visible = 0, since = document.hidden ? null : performance.now();
  const pause = () => { if (since !== null) visible += performance.now() - since; since = null; };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) pause(); else since = since ?? performance.now();
  });
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) { event.preventDefault(); return; }
    sent = true;
    pause();
    form.elements.seconds.value = (visible / 1000).toFixed(1);
  });
  // A page that the back button takes from memory shows the state of then: load the present one.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  const enlarged = document.getElementById("enlarged");
  for (const link of document.querySelectorAll(".images a")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      enlarged.firstElementChild.src = link.href;
      enlarged.showModal();
    });
  }
  enlarged.addEventListener("click", () => enlarged.close());

  const buttons = [...form.querySelectorAll(".yes-no button")];
  const items = [...form.querySelectorAll(".item[data-slot]")];
  const rated = (item) => !!item.querySelector("[name^=rating_]:checked");
  const choose = (input) => { if (input) { input.checked = true; input.dispatchEvent(new Event("change", { bubbles: true })); } };
  let current = 0;
  // The item after the last is the choice of the best.
  const mark = (number) => {
    current = Math.max(0, Math.min(items.length, number));
    items.forEach((item, k) => item.classList.toggle("current", k === current));
    form.querySelector(".item.none")?.classList.toggle("current", current === items.length);
    (items[current] ?? form.querySelector(".item.none"))?.scrollIntoView({ block: "nearest" });
  };
  const follow = () => {
    const next = items.findIndex((item, k) => k > current && !rated(item));
    const first = items.findIndex((item) => !rated(item));
    mark(next >= 0 ? next : first >= 0 ? first : items.length);
  };
  const ratingKeys = (key) => {
    if (current === items.length) {
      const value = key === "0" ? "none" : key;
      choose(form.querySelector(`[name=best][value="${value}"]`));
      return;
    }
    const input = items[current].querySelector(`[name^=rating_][value="${key}"]`);
    if (input) { choose(input); follow(); }
  };
  form.addEventListener("change", (event) => {
    const item = event.target.closest(".item[data-slot]");
    if (item && event.isTrusted && event.target.name !== "best") { current = items.indexOf(item); follow(); }
  });
  addEventListener("keydown", (event) => {
    if (enlarged.open || typing(event) || event.repeat) return;
    const key = event.key;
    if (buttons.length) {
      const letter = { y: 0, n: 1 }[key.toLowerCase()];
      if (letter !== undefined) buttons[letter].click();
      const arrow = { ArrowLeft: 0, ArrowRight: 1 }[key];
      if (arrow !== undefined) { buttons[arrow].focus(); event.preventDefault(); }
      return;
    }
    if (/^[0-9]$/.test(key)) ratingKeys(key);
    else if (key === "ArrowDown" || key === "ArrowUp") mark(current + (key === "ArrowDown" ? 1 : -1));
    // Enter in a radio button sends the form by itself in some browsers only; on a link it follows it.
    else if (key === "Enter" && !event.target.closest("a, button")) form.requestSubmit();
    else return;
    event.preventDefault();
  });
  if (items.length) {
    const first = items.findIndex((item) => !rated(item));
    mark(first < 0 ? items.length : first);
  }
})();
