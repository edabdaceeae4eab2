"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  at("data").remove(); // its text is as long as everything that was read from it
  const fields = ["q", "layer", "method", "status", "category", "agreement", "sort"];
  const list = at("units");
  const sections = data.sections || {};
  const waiting = {};
  let shown = [];
  let first = 0; // position of the first row in the page
  let open = null; // index into data.units
  let marked = -1; // position of the current row in `shown`

  // A row of data.units: [layer, unit, [[text, status, score] by method], references, distinct, block,
  // changes, mean cosine of the descriptions, categories].
  const layerOf = (unit) => data.layers[unit[0]];
  const address = (unit) => encodeURIComponent(layerOf(unit)).replace(/%2F/g, "/") + "/" + unit[1];

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function highlighted(text, word) {
    const span = element("span", "text");
    let from = 0;
    const lower = text.toLowerCase();
    // Characters whose lower case has another length would shift the positions.
    if (word && lower.length === text.length) {
      for (let i = lower.indexOf(word); i >= 0; i = lower.indexOf(word, from)) {
        span.append(text.slice(from, i), element("mark", "", text.slice(i, i + word.length)));
        from = i + word.length;
      }
    }
    span.append(text.slice(from));
    return span;
  }

  function chosen(unit) {
    const method = at("method").value;
    return unit[2].filter((_, m) => !method || data.methods[m] === method);
  }

  const agreements = {
    same: (unit) => unit[4] === 1 && unit[2].filter((d) => d[0] !== null).length > 1,
    similar: (unit) => unit[7] !== null && unit[7] >= data.agree,
    different: (unit) => (data.cosines ? unit[7] !== null && unit[7] < data.agree : unit[4] > 1),
  };

  function select() {
    const word = at("q").value.trim().toLowerCase();
    const layer = at("layer").value;
    const status = at("status").value;
    const order = at("sort").value;
    const category = at("category").value;
    const agreement = agreements[at("agreement").value];
    shown = [];
    data.units.forEach((unit, index) => {
      if (layer && layerOf(unit) !== layer) return;
      if (category && !unit[8].includes(category)) return;
      if (agreement && !agreement(unit)) return;
      const found = chosen(unit).filter((d) => (!status || d[1] === status) &&
        (!word || (d[0] || "").toLowerCase().includes(word)));
      const reference = word && !status && unit[3].toLowerCase().includes(word);
      if (found.length || reference || (!word && !status)) shown.push(index);
    });
    const best = (index) => Math.max(...chosen(data.units[index]).map((d) => d[2] === null ? -Infinity : d[2]));
    const alike = (index) => (data.units[index][7] === null ? 2 : data.units[index][7]);
    if (order === "distinct" && data.cosines) shown.sort((a, b) => alike(a) - alike(b) || a - b);
    else if (order === "distinct") shown.sort((a, b) => data.units[b][4] - data.units[a][4] || a - b);
    if (order === "changes") shown.sort((a, b) => data.units[b][6] - data.units[a][6] || a - b);
    // Units without a score come last in both orders.
    if (order === "score") shown.sort((a, b) => (best(a) === best(b) ? a - b : best(b) - best(a)));
    if (order === "worst") {
      const key = (index) => (best(index) === -Infinity ? Infinity : best(index));
      shown.sort((a, b) => (key(a) === key(b) ? a - b : key(a) - key(b)));
    }
  }

  function row(index, word) {
    const unit = data.units[index];
    const item = element("li");
    item.dataset.unit = index;
    const link = element("a", "row");
    link.href = "#" + fragment(index);
    link.append(element("span", "name", layerOf(unit) + " / " + unit[1]));
    const texts = element("span", "texts");
    unit[2].forEach((found, m) => {
      if (at("method").value && data.methods[m] !== at("method").value) return;
      const cell = element("span");
      cell.append(element("span", "method", data.methods[m]));
      cell.append(found[0] === null ? element("span", "none", found[1].replace(/_/g, " ")) : highlighted(found[0], word));
      texts.append(cell);
    });
    link.append(texts);
    item.append(link);
    return item;
  }

  function draw() {
    const word = at("q").value.trim().toLowerCase();
    const position = shown.indexOf(open);
    // Only some rows at a time: thousands take hundreds of megabytes.
    if (position >= 0) first = position - (position % data.batch);
    const end = Math.min(first + data.batch, shown.length);
    list.replaceChildren(...shown.slice(first, end).map((index) => row(index, word)));
    at("more").hidden = end === shown.length;
    at("less").hidden = first === 0;
    at("count").textContent = (first || end < shown.length ? first + 1 + "–" + end + " of " : "") +
      (shown.length === data.units.length ? "" : shown.length + " of ") + data.units.length + " units";
    if (position >= 0) reveal();
  }

  function withSections(block, then) {
    if (sections[block]) return then();
    if (waiting[block]) return waiting[block].push(then);
    waiting[block] = [then];
    const script = document.createElement("script");
    script.src = "data/" + encodeURIComponent(block) + ".js";
    document.head.append(script);
  }

  window.dissectbenchSections = (block, content) => {
    sections[block] = content;
    (waiting[block] || []).forEach((then) => then());
    delete waiting[block];
  };

  const blockOf = (unit) => data.blocks[unit[5]];

  function source(number) {
    return data.split ? "thumbs/" + number + ".webp" : "data:image/webp;base64," + data.thumbnails[number];
  }

  function reveal() {
    const index = open;
    withSections(blockOf(data.units[index]), () => {
      const item = list.querySelector('[data-unit="' + index + '"]');
      if (open !== index || !item || item.querySelector(".unit")) return;
      const unit = data.units[index];
      const box = element("article", "unit");
      box.innerHTML = sections[blockOf(unit)][unit[1]][0];
      for (const image of box.querySelectorAll("img[data-thumbnail]")) image.src = source(image.dataset.thumbnail);
      item.append(box);
      item.style.scrollMarginTop = at("controls").offsetHeight + 4 + "px"; // they cover what is behind them
      item.scrollIntoView({ block: "start" });
    });
  }

  // The whole state is in the fragment, as `#layer4/12?q=dog&layer=layer4`.
  function fragment(index) {
    const state = new URLSearchParams();
    for (const name of fields) if (at(name).value) state.set(name, at(name).value);
    const query = state.toString();
    return (index === null ? "" : address(data.units[index])) + (query ? "?" + query : "");
  }

  function keep() {
    history.replaceState(null, "", "#" + fragment(open));
  }

  function read() {
    const [place, query] = location.hash.slice(1).split("?", 2);
    let path = place;
    try { path = decodeURIComponent(place); } catch { /* not encoded: taken as it is */ }
    const index = data.units.findIndex((unit) => layerOf(unit) + "/" + unit[1] === path);
    at("unknown").hidden = index >= 0 || !path || at(path) !== null;
    if (!at("unknown").hidden) unknown(path);
    if (index < 0 && path) return; // another anchor of the page
    const state = new URLSearchParams(query || "");
    for (const name of fields) at(name).value = state.get(name) || "";
    for (const name of fields) if (at(name).selectedIndex === -1) at(name).value = "";
    open = index < 0 ? null : index;
    select();
    // A link to a unit wins over the filters.
    if (open !== null && !shown.includes(open)) shown.unshift(open);
    marked = shown.indexOf(open);
    draw();
  }

  // Says which units the page has instead of the one that a link names.
  function unknown(path) {
    const [layer, unit] = [path.slice(0, path.lastIndexOf("/")), path.slice(path.lastIndexOf("/") + 1)];
    const units = data.units.filter((other) => layerOf(other) === layer).map((other) => other[1]);
    at("unknown").textContent = units.length
      ? "Unit " + unit + " of " + layer + " is not on this page. It has " + units.length + " units of this layer, from " +
        Math.min(...units) + " to " + Math.max(...units) + "."
      : path + " is not on this page. Its layers are " + data.layers.join(", ") + ".";
    at("unknown").scrollIntoView({ block: "center" });
  }

  function show(position) {
    if (position < 0 || position >= shown.length) return;
    marked = position;
    location.hash = fragment(shown[position]);
  }

  function close() {
    if (open === null) return;
    const item = list.querySelector('[data-unit="' + open + '"]');
    open = null;
    keep();
    draw();
    const again = item && list.querySelector('[data-unit="' + item.dataset.unit + '"] a');
    if (again) again.focus();
  }

  async function copy(button) {
    const unit = data.units[open];
    const text = JSON.stringify(sections[blockOf(unit)][unit[1]][1], null, 2);
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // A page opened from the disk may have no access to the clipboard.
      const area = element("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
  }

  function changed() {
    open = null;
    marked = -1;
    first = 0;
    keep();
    select();
    draw();
  }

  const actions = {
    next: () => show(marked < 0 ? first : marked + 1),
    previous: () => show(marked - 1),
    close,
    copy,
  };
  const keys = { j: actions.next, k: actions.previous, ArrowRight: actions.next, ArrowLeft: actions.previous,
    o: () => show(Math.max(marked, first)), Escape: close, "/": () => at("q").focus() };

  for (const name of fields) at(name).addEventListener(name === "q" ? "input" : "change", changed);
  function turn(rows) {
    open = null;
    marked = -1;
    first += rows;
    keep();
    draw();
    at("units-title").scrollIntoView();
  }

  at("more").addEventListener("click", () => turn(data.batch));
  at("less").addEventListener("click", () => turn(-data.batch));
  at("regions").addEventListener("click", () => {
    const plain = document.body.classList.toggle("plain");
    at("regions").setAttribute("aria-pressed", String(!plain));
  });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) actions[button.dataset.do](button);
    const link = event.target.closest("a.row");
    if (link && open === Number(link.parentElement.dataset.unit)) { event.preventDefault(); close(); }
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest("input, select, textarea");
    if (typing && event.key === "Escape") event.target.blur();
    if (typing || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  window.addEventListener("hashchange", read);
  // Paper shows what is folded on the screen.
  window.addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll(".unit details:not([open])")) {
      folded.open = true;
      folded.dataset.folded = "";
    }
  });
  window.addEventListener("afterprint", () => {
    for (const folded of document.querySelectorAll("details[data-folded]")) {
      folded.open = false;
      delete folded.dataset.folded;
    }
  });
  at("controls").hidden = at("keys").hidden = false;
  open = null;
  select();
  draw();
  read();
})();
