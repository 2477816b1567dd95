// The runs as columns, what the reader has chosen, and the filter.

const root = document.documentElement;
addEventListener("error", (event) => { root.dataset.error = event.message; });
addEventListener("unhandledrejection", (event) => { root.dataset.error = String(event.reason); });

const { count, format, percent, shorten } = words;
const find = (selector, within = document) => within.querySelector(selector);
const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];
const data = JSON.parse(find("#data").textContent);
const runs = data.runs;
const ALL = runs.number.map((_, index) => index);

// An element with attributes and children. Texts become text nodes, so that no name is read as HTML.
function element(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Columns --------------------------------------------------------------------------------------------

// A column: `value` is what is sorted and compared, `text` what is shown.
const columns = new Map();
const addColumn = (name, column) => columns.set(name, { name, kind: "number", words: name, ...column });
const numberText = (value) => (value === null ? "" : Number.isInteger(value) ? format(value) : String(Number(value.toPrecision(4))));

function metricText(metric, value) {
  if (!isNumber(value)) return "";
  return metric.share ? percent(value) : numberText(value);
}

addColumn("number", { value: (i) => runs.number[i], text: (i) => String(runs.number[i]) });
addColumn("run", { kind: "text", value: (i) => runs.label[i], text: (i) => runs.label[i] });
addColumn("state", { kind: "text", value: (i) => data.states[runs.state[i]], text: (i) => data.states[runs.state[i]] });
addColumn("error", { kind: "text", value: (i) => errorOf(i), text: (i) => errorOf(i) });
for (const metric of data.metrics) {
  addColumn(metric.name, { metric, words: metric.words, value: (i) => metric.values[i], text: (i) => metricText(metric, metric.values[i]) });
}
for (const option of data.options) {
  const { values, numbers, codes } = option;
  addColumn(option.name, {
    kind: numbers ? "number" : "text", option, order: (i) => codes[i],
    value: (i) => (numbers ? numbers[codes[i]] : values[codes[i]]), text: (i) => values[codes[i]],
  });
}
const duration = (seconds) => (seconds === null ? "" : seconds < 100 ? `${Number(seconds.toPrecision(3))} s`
  : [seconds / 3600, (seconds / 60) % 60, seconds % 60].map((part) => String(Math.floor(part)).padStart(2, "0")).join(":"));
addColumn("tries", { value: (i) => runs.tries[i], text: (i) => format(runs.tries[i]) });
addColumn("elapsed", { words: "seconds of the latest try", value: (i) => runs.elapsed[i], text: (i) => duration(runs.elapsed[i]) });

function errorOf(i) {
  return runs.error[i] === null ? "" : data.errors[runs.error[i]];
}

// The address of what a run left, relative to the page; null if there is nothing.
function addressOf(i) {
  const place = data.places[runs.place[i]];
  return place ? `./${place.replace("*", () => encodeURIComponent(runs.label[i]))}` : null;
}

const options = data.options.map((option) => option.name);
const metrics = data.metrics.map((metric) => metric.name);

// The first name of a list that exists, or the first of all names.
function prefer(names, wanted) {
  return wanted.find((name) => names.includes(name)) ?? names[0] ?? "";
}

const several = options.filter((name) => columns.get(name).option.values.length > 1);
const settings = several.filter((name) => name !== "seed"); // a seed is no setting that is compared
const defaultX = prefer(settings, ["width", "technique", "lambda_", "lr"]) || prefer(several, []);
const defaultY = prefer([...settings, ...several].filter((name) => name !== defaultX), ["depth", "technique"]);
const usualMetric = prefer(metrics, ["test/acc", "val/acc", "train/acc"]);
const shownAtFirst = ["number", "run", "state", ...(data.errors.length ? ["error"] : []),
  ...["test/acc", "val/acc", "test/unit_dead_ratio", "best_epoch"].filter((name) => metrics.includes(name)), ...several.slice(0, 8), "tries", "elapsed"];

const DEFAULTS = {
  sort: "number", down: "", page: "1", filter: "", states: "", columns: shownAtFirst.join(" "), pause: "", open: "",
  "heat-metric": usualMetric, "heat-x": defaultX, "heat-y": defaultY,
  "box-metric": usualMetric, "box-by": prefer(settings, ["technique"]),
  "dots-x": prefer(metrics, ["test/unit_dead_ratio", "val/unit_dead_ratio"]), "dots-y": usualMetric,
  "dots-by": prefer(settings, ["technique"]),
};

// What is chosen -------------------------------------------------------------------------------------

// The choices are kept in the address, so that they outlive a reload and can be handed on. Only what differs from the
// defaults is written. `only:NAME` holds the value that an option must have.
const view = { ...DEFAULTS };

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of given) {
    if (name in DEFAULTS || (name.startsWith("only:") && options.includes(name.slice(5)))) view[name] = value;
  }
}

function writeAddress() {
  const kept = Object.entries(view).filter(([name, value]) => value !== (DEFAULTS[name] ?? ""));
  const text = new URLSearchParams(kept).toString();
  try {
    history.replaceState(history.state, "", text ? `#${text}` : location.href.split("#")[0]);
  } catch (error) {
    if (error.name !== "SecurityError") throw error; // a browser may allow only so many changes in half a minute
  }
}

// The filter -----------------------------------------------------------------------------------------

const COMPARE = {
  "=": (a, b) => a === b, "!=": (a, b) => a !== b, "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
};

// One word of the filter as a test of a run: NAME=VALUE and the like compare a column, other words are searched for.
function testOf(word) {
  const parts = /^([^=<>!]+)(!=|<=|>=|=|<|>)(.+)$/.exec(word);
  const column = parts && columns.get(parts[1]);
  if (!column) return { test: (i) => searchText(i).includes(word.toLowerCase()), unknown: parts && parts[1] };
  const [, , sign, given] = parts;
  if (column.kind === "number") {
    const share = column.metric && column.metric.share && given.endsWith("%");
    const wanted = Number(share ? given.slice(0, -1) : given) / (share ? 100 : 1);
    const same = (i) => column.value(i) === wanted || column.text(i) === given; // the text may have fewer digits
    // Part of a name such as depth=2-width=3 is no value: it is searched for.
    if (!Number.isFinite(wanted) && !ALL.some(same)) return { test: (i) => searchText(i).includes(word.toLowerCase()) };
    if (sign === "=" || sign === "!=") return { test: (i) => same(i) === (sign === "=") };
    if (Number.isFinite(wanted)) return { test: (i) => isNumber(column.value(i)) && COMPARE[sign](column.value(i), wanted) };
  }
  const wanted = given.toLowerCase();
  return { test: (i) => COMPARE[sign](column.text(i).toLowerCase(), wanted) };
}

const searchTexts = [];
function searchText(i) {
  searchTexts[i] ??= [runs.label[i], data.states[runs.state[i]], errorOf(i), ...options.map((name) => columns.get(name).text(i))].join("\n").toLowerCase();
  return searchTexts[i];
}

// The runs that the filter leaves, and the names in it that are no column.
function filtered() {
  const tokens = (view.filter.match(/[^\s"]*"[^"]*"?|\S+/g) || []).map((token) => token.replaceAll('"', "")).filter(Boolean);
  const tests = tokens.map(testOf);
  const states = new Set(view.states.split(" ").filter(Boolean));
  if (states.size) tests.push({ test: (i) => states.has(data.states[runs.state[i]]) });
  for (const name of options) {
    const wanted = view[`only:${name}`];
    if (wanted) tests.push({ test: (i) => columns.get(name).text(i) === wanted });
  }
  const unknown = tests.map((test) => test.unknown).filter(Boolean);
  return { rows: ALL.filter((i) => tests.every(({ test }) => test(i))), unknown };
}

// The runs in the order of the table: runs without a value come last, whichever way it is sorted.
function sorted(rows) {
  const column = columns.get(view.sort) || columns.get("number");
  const key = column.order || column.value;
  const sign = view.down ? -1 : 1;
  const missing = (value) => value === null || value === "" || value === undefined;
  const keys = new Map(rows.map((i) => [i, key(i)]));
  return [...rows].sort((one, other) => {
    const [a, b] = [keys.get(one), keys.get(other)];
    if (missing(a) || missing(b)) return missing(a) - missing(b) || one - other;
    return (a < b ? -sign : a > b ? sign : 0) || one - other;
  });
}

// The values of an option that occur, as groups of runs. Many values are joined to ranges of neighbors.
function groupsOf(name, rows, most) {
  const option = columns.get(name)?.option;
  if (!option) return [{ name: "all runs", short: "all runs", only: null, rows }];
  const used = [...new Set(rows.map((i) => option.codes[i]))].sort((a, b) => a - b);
  const size = Math.ceil(used.length / most);
  const groups = [];
  const groupOf = new Map();
  for (let first = 0; first < used.length; first += size) {
    const codes = used.slice(first, first + size);
    const [one, last] = [option.values[codes[0]], option.values[codes[codes.length - 1]]];
    const title = codes.length > 1 ? `${one} to ${last}` : one;
    for (const code of codes) groupOf.set(code, groups.length);
    groups.push({ name: title, short: codes.length > 1 ? `${one} …` : one, only: codes.length > 1 ? null : one, rows: [], place: codes[0] / Math.max(1, option.values.length - 1) });
  }
  for (const i of rows) groups[groupOf.get(option.codes[i])].rows.push(i);
  return groups;
}

// The finite values of a metric in some runs.
function valuesOf(metric, rows) {
  const column = columns.get(metric);
  return column ? rows.map(column.value).filter(isNumber) : [];
}
