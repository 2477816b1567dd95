// The table of the runs: one page of it at a time, so that ten thousand runs are no burden.

const ROWS = 100; // rows of a page of the table

function runLink(i) {
  const address = addressOf(i);
  const name = runs.label[i];
  return address ? element("a", { href: address }, name) : element("span", {}, name);
}

function shownColumns() {
  const names = view.columns.split(" ");
  return [...columns.keys()].filter((name) => names.includes(name)).map((name) => columns.get(name));
}

function drawTable(rows) {
  const ordered = sorted(rows);
  const pages = Math.max(1, Math.ceil(ordered.length / ROWS));
  const page = Math.min(Math.max(1, Math.round(Number(view.page)) || 1), pages);
  const first = (page - 1) * ROWS;
  const shown = ordered.slice(first, first + ROWS);
  const list = shownColumns();
  const table = element("table", { "aria-rowcount": ordered.length + 1 }, element("caption", { class: "hidden" }, "Runs of the sweep"),
    element("thead", {}, element("tr", {}, ...list.map(headCell))),
    element("tbody", {}, ...shown.map((i, index) => element("tr", { "aria-rowindex": first + index + 2, class: data.states[runs.state[i]] }, ...list.map((column) => bodyCell(column, i))))));
  find("#table").replaceChildren(table, ...(shown.length ? [] : [element("p", { class: "soft" }, "The filter leaves no run.")]));
  for (const place of findAll(".pages")) place.replaceChildren(...pageButtons(place.id, page, pages, first, shown.length, ordered.length));
}

function headCell(column) {
  const active = view.sort === column.name;
  const choose = () => {
    view.down = active && !view.down ? "1" : "";
    view.sort = column.name;
    view.page = "1";
    update();
    find(`th button[data-name="${CSS.escape(column.name)}"]`)?.focus({ preventScroll: true });
  };
  const arrow = element("span", { class: "arrow", "aria-hidden": "true" }, active ? (view.down ? "▼" : "▲") : "");
  return element("th", { scope: "col", class: column.kind, "aria-sort": active ? (view.down ? "descending" : "ascending") : null },
    element("button", { type: "button", title: column.words, "data-name": column.name, onclick: choose }, column.name, arrow));
}

function bodyCell(column, i) {
  if (column.name === "run") return element("th", { scope: "row" }, runLink(i));
  const text = column.text(i);
  if (column.name === "state") return element("td", { class: "state" }, element("span", { class: `dot ${text}`, "aria-hidden": "true" }), text);
  if (column.name === "error") return element("td", { class: "error", title: text }, text);
  return element("td", { class: column.kind }, text);
}

function pageButtons(id, page, pages, first, shown, all) {
  const text = shown ? `Runs ${format(first + 1)} to ${format(first + shown)} of ${format(all)}` : "No run";
  if (pages === 1) return id === "pages" ? [element("span", { role: "status" }, text)] : [];
  const button = (name, target) => {
    const made = element("button", { type: "button", onclick: () => { view.page = String(target); update(); } }, name);
    made.disabled = target < 1 || target > pages || target === page;
    return made;
  };
  return [button("First", 1), button("Previous", page - 1), button("Next", page + 1), button("Last", pages),
    element("span", id === "pages" ? { role: "status" } : {}, `${text}, page ${format(page)} of ${format(pages)}`)];
}

function columnChoices() {
  const names = new Set(view.columns.split(" "));
  return [...columns.values()].map((column) => {
    const box = element("input", { type: "checkbox", value: column.name });
    box.checked = names.has(column.name);
    box.addEventListener("change", () => {
      view.columns = findAll("#column-choices input:checked").map((input) => input.value).join(" ");
      update();
    });
    return element("label", { title: column.words }, box, column.name);
  });
}
