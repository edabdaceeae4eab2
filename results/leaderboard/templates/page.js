"use strict";
(() => {
  const STEP = 100;
  const FILTERS = ["target", "layer", "method", "metric"];
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = parsed("data");
  let details;
  // Parsed when it is first needed: most of the file is settings and descriptions.
  const detail = (row) => (details ??= parsed("details")).entries[row.entry];
  const form = document.getElementById("controls");
  const table = document.getElementById("scores");
  const body = table.tBodies[0];
  const more = document.getElementById("more");
  const status = document.getElementById("status");
  const heads = [...table.tHead.rows[0].cells];

  // Rows are [entry, metric, cells by column]; a cell is [text, number to sort by, SVG].
  const rows = data.rows.map(([entry, metric, score, rank, difference, note], index) => {
    const from = data.entries[entry];
    const board = data.boards[from.board];
    const cells = {
      target: [board.target], layer: [board.layer], method: [from.label], metric: [data.metrics[metric]],
      score, rank, difference,
      scored: from.scored, distinct: from.distinct, time: from.time, cost: from.cost, date: [from.date],
    };
    return { index, entry, from, board, note, cells };
  });
  const empty = () => ({ target: "", layer: "", method: "", metric: "", q: "", sort: "", open: "" });
  let state = empty();
  let shown = STEP;
  let visible = [];

  function read() {
    const parameters = new URLSearchParams(location.hash.slice(1));
    state = empty();
    for (const name of Object.keys(state)) state[name] = parameters.get(name) || "";
    for (const name of [...FILTERS, "q", "sort"]) form.elements[name].value = state[name];
  }

  function write() {
    const set = Object.entries(state).filter(([, value]) => value !== "");
    const fragment = new URLSearchParams(set).toString();
    // Without a new entry in the history, which Back would step through letter by letter.
    history.replaceState(null, "", "#" + fragment);
  }

  function text(row) {
    row.text ??= [
      ...FILTERS.map((name) => row.cells[name][0]), row.from.source, row.board.title,
      ...detail(row).examples.flatMap(([, words, references]) => [words, references]),
    ].join("\n").toLowerCase();
    return row.text;
  }

  function compare(key, sign) {
    return (a, b) => {
      const [left, right] = [a.cells[key], b.cells[key]];
      const [x, y] = [left.length > 1 ? left[1] : left[0], right.length > 1 ? right[1] : right[0]];
      // What has no value comes last in both directions.
      if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
      return sign * ((x > y) - (x < y)) || a.index - b.index;
    };
  }

  function select() {
    const wanted = FILTERS.filter((name) => state[name] !== "");
    const query = state.q.toLowerCase();
    visible = rows.filter((row) =>
      wanted.every((name) => row.cells[name][0] === state[name]) && (!query || text(row).includes(query)));
    const key = state.sort.replace(/^-/, "");
    if (data.columns.some((column) => column.key === key)) {
      visible.sort(compare(key, state.sort.startsWith("-") ? -1 : 1));
    }
  }

  // All texts enter the page as text, never as HTML.
  function element(name, content, css) {
    const made = document.createElement(name);
    if (content !== undefined) made.textContent = content;
    if (css) made.className = css;
    return made;
  }

  function line(row) {
    const made = element("tr", undefined, row.from.control ? "control" : "");
    for (const column of data.columns) {
      const [content, , ...places] = row.cells[column.key];
      const cell = element("td", column.key === "method" ? undefined : content, column.css);
      cell.dataset.label = column.title;
      if (places.length) cell.append(drawing(...places));
      if (column.key === "method") cell.append(opener(row, made, content));
      made.append(cell);
    }
    return made;
  }

  function drawing(low, mean, high) {
    const holder = document.createElement("template");
    // The template and its numbers were written by the program, not taken from a name or description.
    holder.innerHTML = data.drawing.replace("{low}", low).replace("{mean}", mean).replace("{high}", high);
    return holder.content;
  }

  function opener(row, made, label) {
    const button = element("button", label, "open");
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      state.open = open ? "" : String(row.index);
      write();
      toggle(row, made, button, !open);
    });
    if (state.open === String(row.index)) queueMicrotask(() => toggle(row, made, button, true));
    return button;
  }

  function toggle(row, made, button, open) {
    button.setAttribute("aria-expanded", String(open));
    if (!open) return made.nextElementSibling?.remove();
    const cell = element("td");
    cell.colSpan = data.columns.length;
    cell.append(description(row));
    const added = element("tr", undefined, "details");
    added.append(cell);
    made.after(added);
  }

  function description(row) {
    const list = element("dl");
    const add = (name, content) => {
      if (content === null || content === undefined || content === "") return;
      const value = element("dd");
      value.append(content);
      list.append(element("dt", name), value);
    };
    const from = row.from;
    const entry = detail(row);
    const submission = details.submissions[from.submission];
    const block = (value) => (Object.keys(value).length ? element("pre", JSON.stringify(value, null, 1)) : "");
    add("Board", row.board.title);
    add("Source", `${from.source}, id ${submission.id.slice(0, 12)}, ${submission.ended}`);
    add("Not ranked", row.note);
    add("Coverage", entry.coverage);
    add("Notes", details.notes[from.board].join(" "));
    if (entry.examples.length) {
      const examples = element("ul");
      for (const [unit, words, references] of entry.examples) {
        examples.append(element("li", `${unit}: ${words}${references && ` (reference: ${references})`}`));
      }
      add("Descriptions", examples);
    }
    add("Method depends on", block(entry.identity));
    add("Method settings", block(entry.settings));
    add("Models", block(submission.models));
    add("Environment", block(submission.environment));
    add("Other settings", block(submission.settings));
    return list;
  }

  function append(from) {
    const part = document.createDocumentFragment();
    for (const row of visible.slice(from, shown)) part.append(line(row));
    body.append(part);
    more.hidden = shown >= visible.length;
    status.textContent = `${Math.min(shown, visible.length)} of ${visible.length} rows` +
      (visible.length < rows.length ? ` (${rows.length} without filters)` : "");
  }

  function render() {
    shown = STEP;
    select();
    body.replaceChildren();
    append(0);
    for (const head of heads) {
      head.removeAttribute("aria-sort");
      if (state.sort.replace(/^-/, "") === head.dataset.key) {
        head.setAttribute("aria-sort", state.sort.startsWith("-") ? "descending" : "ascending");
      }
    }
  }

  function update(changes) {
    Object.assign(state, changes);
    write();
    render();
  }

  function sheet() {
    const titles = data.columns.map((column) => column.title);
    return [titles, ...visible.map((row) => data.columns.map((column) => row.cells[column.key][0]))];
  }

  function csv() {
    // A leading apostrophe keeps spreadsheets from reading a text as a formula.
    const inert = (value) => (/^[=+@\t\r]|^-[^\d.]/.test(value) ? `'${value}` : value);
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    return sheet().map((cells) => cells.map((value) => quoted(inert(value))).join(",")).join("\n") + "\n";
  }

  function markdown() {
    const plain = (value) => value.replace(/\s+/g, " ").replace(/[\\`*_{}[\]<>#|~$]/g, "\\$&");
    const lines = sheet().map((cells) => `| ${cells.map(plain).join(" | ")} |`);
    const rule = data.columns.map((column) => (column.css.startsWith("number") ? "---:" : ":---"));
    lines.splice(1, 0, `| ${rule.join(" | ")} |`);
    return lines.join("\n") + "\n";
  }

  async function copy(content, format) {
    try {
      await navigator.clipboard.writeText(content);
    } catch {
      // Some browsers have no clipboard for pages that were opened from a file.
      const area = element("textarea");
      area.value = content;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    status.textContent = `Copied ${visible.length} rows as ${format}`;
  }

  for (const name of [...FILTERS, "sort"]) {
    form.elements[name].addEventListener("change", (event) => update({ [name]: event.target.value, open: "" }));
  }
  form.elements.q.addEventListener("input", (event) => update({ q: event.target.value, open: "" }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => update(empty()));
  for (const head of heads) {
    const [button] = head.children;
    button.disabled = false;
    button.addEventListener("click", () => {
      const { key } = head.dataset;
      const next = state.sort === key ? `-${key}` : state.sort === `-${key}` ? "" : key;
      form.elements.sort.value = next;
      update({ sort: next, open: "" });
    });
  }
  more.addEventListener("click", () => {
    const from = shown;
    shown += 10 * STEP;
    append(from);
  });
  document.getElementById("csv").addEventListener("click", () => copy(csv(), "CSV"));
  document.getElementById("markdown").addEventListener("click", () => copy(markdown(), "Markdown"));
  window.addEventListener("hashchange", () => { read(); render(); });

  form.hidden = false;
  read();
  render();
  requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("ready")));
})();
