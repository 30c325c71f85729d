// What the pages do besides being read: charts drawn when they come near, tables sorted, SQL copied, the dictionary searched.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

// --- charts ---

const MOST_SHAPES = 6000; // rows above which a canvas is drawn: so many elements would make the page slow
const MOST_SHRUNK = 1.3; // times wider than its place that a chart may be and still shrink to it
const charts = new Map(); // figure → {view, width}

function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// on a dark page greys are mirrored, from black as the page's ink to white as its card, the first colour is lighter,
// and viridis begins where it can be seen
const SEEN = [0.2, 1];
const WORDS = new Set(["domain", "field", "labelExpr", "sort", "title", "text"]); // a model may be named black
const GREYS = { black: 0, grey: 0.5, gray: 0.5, white: 1 };
const channels = hex => [1, 3, 5].map(start => parseInt(hex.slice(start, start + 2), 16));

function inkedColor(text) {
  if (text.toLowerCase() === document.body.dataset.first.toLowerCase()) return ink("--first");
  const [red, green, blue] = /^#[0-9a-f]{6}$/i.test(text) ? channels(text) : [-1];
  const grey = red >= 0 && red === green && green === blue ? red / 255 : GREYS[text];
  if (grey === undefined) return text;
  const [from, to] = [channels(ink("--ink")), channels(ink("--card"))];
  return `rgb(${from.map((value, i) => Math.round(value + (to[i] - value) * grey)).join(", ")})`;
}

function inked(value) {
  if (typeof value === "string") return inkedColor(value);
  if (Array.isArray(value)) return value.map(inked);
  if (value === null || typeof value !== "object") return value;
  const shown = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, WORDS.has(key) ? item : inked(item)]));
  if (shown.scheme === "viridis") shown.scheme = { name: "viridis", extent: SEEN };
  return shown;
}

function inkedRange(range) {
  const seen = item => item?.scheme?.name ? { scheme: item.scheme.name, extent: item.scheme.extent } : item;
  return Object.fromEntries(Object.entries(range ?? {}).map(([name, item]) => [name, seen(item)]));
}

function themed(spec) {
  const isDark = dark.matches && !printing;
  const shown = isDark ? inked(spec) : structuredClone(spec);
  const said = shown.config ?? {};
  const words = isDark ? ink("--ink") : "#000000";
  shown.background = "transparent";
  shown.config = {
    ...said,
    range: inkedRange(said.range),
    font: getComputedStyle(document.body).fontFamily,
    axis: { labelColor: words, titleColor: words, ...said.axis },
    legend: { labelColor: words, titleColor: words, ...said.legend },
    header: { labelColor: words, titleColor: words, ...said.header },
    text: { color: words, ...said.text },
  };
  return shown;
}

// one view alone takes the room there is; facets go below each other where a row has no room
function fitted(spec, room) {
  if (!spec.facet) {
    if (typeof spec.width === "number" && spec.width + 130 > room) {
      spec.width = "container";
      spec.autosize = { type: "fit-x", contains: "padding" };
    }
  } else if (spec.columns) {
    const one = (spec.spec.width ?? 200) + 45;
    spec.columns = Math.max(1, Math.min(spec.columns, Math.floor((room - 60) / one)));
  }
  return spec;
}

async function draw(figure) {
  const place = figure.querySelector(".chart");
  let plot = place.querySelector(".plot");
  if (!plot) {
    plot = document.createElement("div"); // vega-embed makes its element as wide as the chart
    plot.className = "plot";
    place.replaceChildren(plot);
  }
  const { spec, columns } = JSON.parse(figure.querySelector("script").textContent);
  const names = Object.keys(columns);
  const n = names.length ? columns[names[0]].length : 0;
  const rows = Array.from({ length: n }, (_, i) => Object.fromEntries(names.map(name => [name, columns[name][i]])));
  charts.get(figure)?.view?.finalize();
  const width = place.clientWidth;
  charts.set(figure, { width });
  const shown = fitted(themed({ ...spec, datasets: {} }), width);
  shown.datasets = { rows };
  try {
    const { view } = await vegaEmbed(plot, shown, {
      actions: false,
      renderer: n > MOST_SHAPES ? "canvas" : "svg",
      tooltip: { theme: dark.matches ? "dark" : "light" },
    });
    charts.set(figure, { view, width });
    // what is a little too wide is made smaller, what is far too wide scrolls
    const picture = plot.querySelector("svg");
    const wide = picture ? picture.width.baseVal.value / place.clientWidth : 1;
    if (wide > 1 && wide < MOST_SHRUNK) picture.style.cssText = "width: 100%; height: auto";
    // who scrolls with the keyboard must be able to get there
    if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
    else place.removeAttribute("tabindex");
  } catch (error) {
    plot.innerHTML = '<p class="broken" role="alert"></p>';
    plot.firstChild.textContent = `This chart could not be drawn: ${error.message}`;
    console.error(error);
  }
  place.classList.remove("waiting");
  figure.dataset.drawn = "";
}

const figures = [...document.querySelectorAll("figure")];
const waiting = () => figures.filter(figure => !charts.has(figure));
const drawAll = () => Promise.all(waiting().map(draw));
const redrawAll = () => Promise.all([...charts.keys()].map(draw));

function drawWhenNear() {
  const near = new IntersectionObserver(entries => {
    for (const entry of entries.filter(entry => entry.isIntersecting)) {
      near.unobserve(entry.target);
      if (!charts.has(entry.target)) draw(entry.target);
    }
  }, { rootMargin: "800px" });
  for (const figure of figures) {
    figure.querySelector(".chart").classList.add("waiting");
    near.observe(figure);
  }
  dark.addEventListener("change", redrawAll);
  addEventListener("beforeprint", () => { printing = true; redrawAll(); drawAll(); });
  addEventListener("afterprint", () => { printing = false; if (dark.matches) redrawAll(); });
  let later;
  addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(() => {
      for (const [figure, { width }] of charts) {
        if (figure.querySelector(".chart").clientWidth !== width) draw(figure);
      }
    }, 200);
  });
}

// --- tables ---

function sortBy(table, place, header) {
  const order = header.ariaSort === "ascending" ? "descending" : "ascending";
  const isNumber = header.classList.contains("number");
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const value = row => row.cells[place].querySelector(".null") ? null : row.cells[place].textContent.trim();
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === null || b === null) return (a === null) - (b === null); // null is last either way
    const difference = isNumber ? Number(a) - Number(b) : a.localeCompare(b, undefined, { numeric: true });
    return order === "ascending" ? difference : -difference;
  });
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((header, place) => {
    header.querySelector("button").addEventListener("click", () => sortBy(table, place, header));
  });
}

// --- copying ---

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // a page from disk may not have the clipboard's newer door
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    await copy(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

// --- the dictionary ---

const find = document.getElementById("find");
find?.addEventListener("input", () => {
  const word = find.value.trim().toLowerCase();
  const relations = [...document.querySelectorAll(".relation")];
  for (const relation of relations) relation.hidden = !relation.textContent.toLowerCase().includes(word);
  const n = relations.filter(relation => !relation.hidden).length;
  document.getElementById("found").textContent = word ? `${n} of ${relations.length}` : "";
});

// a phone's screen is not for the list of contents
if (innerWidth < 1088) document.querySelector(".contents details")?.removeAttribute("open");
if (figures.length) drawWhenNear();
