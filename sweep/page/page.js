// The controls of the page, and its reload while the sweep runs.

const SELECTS = {
  "heat-metric": [metrics, false], "heat-x": [several, true], "heat-y": [several, true],
  "box-metric": [metrics, false], "box-by": [several, true],
  "dots-x": [metrics, false], "dots-y": [metrics, false], "dots-by": [several, true],
};
const MOST_CHOICES = 200; // values that the list of an option holds

const drawn = {}; // what each part was drawn from

// Draws a part of the page, unless its runs and its choices are the same as before.
function draw(part, filter, make) {
  const key = JSON.stringify([filter, Object.keys(SELECTS).filter((name) => name.startsWith(part)).map((name) => view[name])]);
  if (drawn[part] !== key) make();
  drawn[part] = key;
}

// Draws what has changed from what is chosen.
function update() {
  writeAddress();
  const { rows, unknown } = filtered();
  const filter = Object.entries(view).filter(([name]) => name === "filter" || name === "states" || name.startsWith("only:"));
  drawStates();
  draw("heat", filter, () => drawHeat(rows));
  draw("box", filter, () => drawBoxes(rows));
  draw("dots", filter, () => drawDots(rows));
  drawTable(rows);
  const left = rows.length < ALL.length ? `The filter leaves ${count(rows.length, "run")} of ${format(ALL.length)}, in the charts too.` : "";
  find("#hint").textContent = unknown.length ? `${left} No column has the name ${unknown.join(", ")}.` : left;
  for (const name of options) {
    const select = document.getElementById(`only:${name}`);
    if (select) select.value = view[`only:${name}`] || "";
  }
  root.dataset.rows = rows.length;
}

function drawStates() {
  const chosen = new Set(view.states.split(" ").filter(Boolean));
  const counts = data.states.map((_, state) => runs.state.filter((code) => code === state).length);
  find("#states").replaceChildren(...data.states.flatMap((state, index) => {
    if (!counts[index]) return [];
    const choose = () => {
      if (!chosen.delete(state)) chosen.add(state);
      view.states = [...chosen].join(" ");
      view.page = "1";
      update();
      find(`#states button[data-state="${state}"]`).focus({ preventScroll: true });
    };
    return [element("button", { type: "button", "data-state": state, "aria-pressed": chosen.has(state), onclick: choose },
      element("span", { class: `dot ${state}`, "aria-hidden": "true" }), `${state} ${format(counts[index])}`)];
  }));
}

function choose(name, value) {
  view[name] = value;
  if (name === "filter" || name.startsWith("only:")) view.page = "1";
  update();
}

function makeSelect(select, names, none, name, text) {
  if (none) select.append(element("option", { value: "" }, none));
  for (const value of names) select.append(element("option", { value }, text(value)));
  select.value = view[name] ?? "";
  if (select.selectedIndex < 0) { view[name] = DEFAULTS[name] ?? ""; select.value = view[name]; }
  select.addEventListener("change", () => { choose(name, select.value); select.blur(); });
}

function makeControls() {
  for (const [id, [names, none]] of Object.entries(SELECTS)) {
    makeSelect(document.getElementById(id), names, none && "none", id, (name) => (columns.get(name).metric ? `${wordsOf(name)} (${name})` : name));
  }
  for (const name of options) {
    const values = [...new Set(columns.get(name).option.values)];
    if (values.length > MOST_CHOICES) continue;
    const select = element("select", { id: `only:${name}` });
    makeSelect(select, values, "all", `only:${name}`, (value) => value);
    find("#choices").append(element("label", {}, `${name} `, select));
  }
  const search = find("#search");
  search.value = view.filter;
  let timer = null;
  search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => choose("filter", search.value), 120); });
  find("#filters").addEventListener("submit", (event) => { event.preventDefault(); choose("filter", search.value); });
  find("#filters").addEventListener("reset", (event) => {
    event.preventDefault();
    for (const name of Object.keys(view)) if (name.startsWith("only:")) view[name] = "";
    Object.assign(view, { filter: "", states: "", page: "1" });
    search.value = "";
    update();
  });
  find("#column-choices").replaceChildren(...columnChoices());
  for (const part of findAll("details[id]")) {
    part.open = view.open.split(" ").includes(part.id);
    part.addEventListener("toggle", () => {
      view.open = findAll("details[id][open]").map((other) => other.id).join(" ");
      writeAddress();
    });
  }
}

// Reload ---------------------------------------------------------------------------------------------

const QUIET = 2500; // milliseconds without a key or a click, after which the page may be loaded anew
const LONGEST = 60000;
let touched = -Infinity;

// What the address does not hold: the place on the page, and the field that is being written in.
function keepPlace() {
  const field = document.activeElement;
  history.replaceState({
    scroll: [scrollX, scrollY], inside: findAll(".scroll").map((part) => [part.scrollLeft, part.scrollTop]),
    field: field && field.id, caret: field && field.id === "search" ? [field.selectionStart, field.selectionEnd] : null, seen: data.written,
    tries: history.state && history.state.seen === data.written ? (history.state.tries || 0) + 1 : 0,
  }, "", location.href);
}

function restorePlace() {
  const kept = history.state;
  if (!kept) return;
  findAll(".scroll").forEach((part, index) => { [part.scrollLeft, part.scrollTop] = kept.inside[index] || [0, 0]; });
  const field = kept.field && document.getElementById(kept.field);
  if (field) field.focus({ preventScroll: true });
  if (field && kept.caret) field.setSelectionRange(...kept.caret);
  scrollTo(...kept.scroll);
}

function isBusy() {
  const field = document.activeElement;
  const selected = String(getSelection()) !== "";
  return document.hidden || performance.now() - touched < QUIET
    || ((selected || (field && field.tagName === "SELECT")) && performance.now() - touched < LONGEST);
}

// Loads the page anew while the sweep runs, and more and more seldom if the sweep does not write it any more.
function follow() {
  const place = find("#live");
  if (data.seconds === null) return;
  const pause = element("input", { type: "checkbox", id: "pause" });
  pause.checked = view.pause === "1";
  pause.addEventListener("change", () => { view.pause = pause.checked ? "1" : ""; writeAddress(); });
  const tries = history.state && history.state.seen === data.written ? history.state.tries || 0 : 0;
  const old = Date.now() / 1000 - data.written > Math.max(60, 3 * data.seconds);
  place.append(old ? " It has not been written again since: the sweep may have been stopped. " : ` It is written again about every ${count(Math.max(1, Math.round(data.seconds)), "second")}, and loads itself anew. `,
    element("label", {}, pause, " pause"));
  let due = performance.now() + Math.min(LONGEST, 1000 * data.seconds * 2 ** Math.max(0, Math.min(tries - 2, 8)));
  setInterval(() => {
    if (performance.now() < due || isBusy() || pause.checked) return;
    due = Infinity;
    keepPlace();
    location.reload();
  }, 200);
  for (const name of ["keydown", "pointerdown", "wheel", "touchmove"]) addEventListener(name, () => { touched = performance.now(); }, { passive: true });
}

history.scrollRestoration = "manual";
readAddress();
find("#views").hidden = false;
for (const part of findAll(".chart")) part.hidden = !metrics.length;
find("#no-metrics").hidden = metrics.length > 0;
makeControls();
update();
addEventListener("hashchange", () => location.reload()); // another address was chosen, not by this script
follow();
restorePlace();
root.dataset.ready = "sweep";
