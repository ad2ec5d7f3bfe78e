// The page: draws one view at a time, and lights up what belongs to the line of the model that is chosen.
const VIEWS = [["kernel", "Code", drawKernel], ["graph", "Graph", drawGraph], ["passes", "Passes", drawPasses],
               ["kernels", "Kernels", drawTable], ["memory", "Memory", drawMemory], ["time", "Timeline", drawTime]];
const ROWS_AT_ONCE = 300;
let data, index, texts;
const chosen = { view: "kernels", line: null, kernel: -1, open: new Set(), sort: ["number", false], ops: new Set(),
                 folded: true };

const byId = (id) => document.getElementById(id);
const html = escapeHtml;

function start() {
  data = JSON.parse(byId("data").textContent);
  index = makeIndex(data);
  const sizes = Object.entries(data.sizes).map(([name, size]) => name + "=" + size).join(" ");
  document.title = data.model + " – mambac report";
  byId("title").textContent = data.model;
  byId("about").textContent =
    `${data.graph} graph, ${data.dtype}, ${data.device}, ${data.kernels.length} kernels; work and memory at ${sizes}`;
  byId("tabs").innerHTML = VIEWS.map(([id, name], i) =>
    `<button role="tab" id="tab-${id}" data-view="${id}" title="Key ${i + 1}">${name}</button>`).join("");
  drawSource();
  document.addEventListener("click", onClick);
  document.addEventListener("keydown", onKey);
  byId("theme").addEventListener("click", switchTheme);
  byId("keys-button").addEventListener("click", () => byId("keys").showModal());
  const named = /^#([a-z]+)(?:-k(\d+))?$/.exec(location.hash);
  if (named && named[2] < data.kernels.length) chosen.kernel = Number(named[2]);
  show(named && VIEWS.some(([id]) => id === named[1]) ? named[1] : chosen.view);
}

function show(view) {
  chosen.view = view;
  for (const [id] of VIEWS) byId("tab-" + id).setAttribute("aria-selected", id === view);
  byId("view").innerHTML = VIEWS.find(([id]) => id === view)[2]();
  byId("view").scrollTop = 0;
  if (view === "passes") fillOpenPasses();
  light();
}

// ---- what is chosen --------------------------------------------------------------------------------------------------

/** `from`: the element of the page that was asked; what surrounds it stays where it is. */
function chooseLine(key, view, from) {
  chosen.line = key;
  const [file, line] = key.split(":").map(Number);
  const kernels = kernelsOfLine(data, index, file, line);
  const has = chosen.kernel >= 0 && touches(data, index, key, chosen.kernel);
  const same = has || kernels.length === 0;
  if (!same) chosen.kernel = kernels[0];
  const next = view || (chosen.view === "passes" || chosen.view === "time" ? "kernel" : chosen.view);
  if (next !== chosen.view || (next === "kernel" && !same)) show(next);
  else if (next === "kernel") byId("chips").innerHTML = kernelChips();
  light(from);
  const row = document.querySelector(`#source [data-line="${key}"]`);
  if (row) row.scrollIntoView({ block: "nearest" });
}

function chooseKernel(kernel, view) {
  chosen.kernel = kernel;
  if (chosen.line && !touches(data, index, chosen.line, kernel)) chosen.line = null;
  show(view || chosen.view);
}

function chooseNothing() {
  chosen.line = null;
  chosen.kernel = -1;
  show(chosen.view);
}

/** Marks in the page what belongs to the chosen line and kernel, and scrolls code there, but for the pane of `from`. */
function light(from) {
  document.querySelectorAll(".lit, .chosen").forEach((one) => one.classList.remove("lit", "chosen"));
  const mark = (selector, test) => document.querySelectorAll(selector).forEach((one) => {
    if (test(one)) one.classList.add("lit");
  });
  if (chosen.line) {
    mark("[data-line]", (one) => one.dataset.line === chosen.line);
    mark(".kernel[data-kernel], tr[data-kernel]", (one) => touches(data, index, chosen.line, one.dataset.kernel));
    mark("[data-value]", (one) => one.dataset.of === chosen.line);
  } else if (chosen.kernel >= 0) {
    const lines = new Set(index.nodesOf[chosen.kernel].map((i) => nodeLine(i)));
    mark("#source [data-line]", (one) => lines.has(one.dataset.line));
    mark(".kernel[data-kernel], tr[data-kernel]", (one) => index.equal[chosen.kernel].includes(Number(one.dataset.kernel)));
  }
  document.querySelectorAll(`.kernel[data-kernel="${chosen.kernel}"], .edge[data-ends~="k${chosen.kernel}"]`)
    .forEach((one) => one.classList.add(one.classList.contains("edge") ? "lit" : "chosen"));
  document.querySelectorAll(".pane .code").forEach((pane) => {
    const first = chosen.line && (pane.querySelector(".lit:not(.shared)") || pane.querySelector(".lit"));
    if (first && !pane.contains(from)) pane.scrollTop = first.offsetTop - pane.offsetTop - pane.clientHeight / 3;
  });
}

function nodeLine(i) {
  return lineKey(data.nodes[i][NODE.file], data.nodes[i][NODE.line]);
}

// ---- mouse and keys --------------------------------------------------------------------------------------------------

function onClick(event) {
  const at = (name) => event.target.closest(`[data-${name}]`);
  let found;
  if ((found = at("view"))) show(found.dataset.view);
  else if ((found = at("sort"))) sortBy(found.dataset.sort);
  else if (at("rows")) { chosen.folded = !chosen.folded; show("kernels"); }
  else if ((found = at("fold"))) fold(found.dataset.fold);
  else if ((found = at("layer"))) fold(found.dataset.layer);
  else if ((found = at("ops"))) { toggle(chosen.ops, Number(found.dataset.ops)); redraw(); }
  else if ((found = at("more"))) moreRows(found.closest("details"));
  else if ((found = event.target.closest("rect[data-value]"))) chooseMemory(Number(found.dataset.value));
  else if ((found = at("line"))) chooseLineOf(found);
  else if ((found = at("kernel"))) chooseKernelHere(found);
}

function chooseLineOf(found) {
  const key = found.dataset.line, inTable = found.closest("#source") && chosen.view === "kernels";
  if (index.lines.has(key)) chooseLine(key, inTable ? "kernel" : undefined, found);
}

function chooseKernelHere(found) {
  const kernel = Number(found.dataset.kernel);
  if (!found.closest(".picture")) return chooseKernel(kernel, found.dataset.to);
  chosen.kernel = kernel;
  chosen.line = null;
  light();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const key = event.key, act = event.target.closest?.('[role="button"], tr[tabindex]');
  if ((key === "Enter" || key === " ") && act) {
    event.preventDefault();
    act.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  } else if (key >= "1" && key <= String(VIEWS.length)) show(VIEWS[key - 1][0]);
  else if (key === "j" || key === "k") stepLine(key === "j" ? 1 : -1);
  else if (key === "n" || key === "p") stepKernel(key === "n" ? 1 : -1);
  else if (key === "d") switchTheme();
  else if (key === "?") byId("keys").showModal();
  else if (key === "Escape") chooseNothing();
  else if ((key === "ArrowRight" || key === "ArrowLeft") && event.target.dataset.view) stepView(key === "ArrowRight" ? 1 : -1);
}

function stepLine(by) {
  const lines = [...document.querySelectorAll("#source [data-line]")].map((one) => one.dataset.line);
  const at = lines.indexOf(chosen.line);
  const next = at < 0 ? (by > 0 ? 0 : lines.length - 1) : Math.min(lines.length - 1, Math.max(0, at + by));
  if (lines.length > 0) chooseLine(lines[next], chosen.view === "kernels" ? "kernel" : undefined);
}

function stepKernel(by) {
  const last = data.kernels.length - 1;
  chooseKernel(Math.min(last, Math.max(0, chosen.kernel + by)), "kernel");
}

function stepView(by) {
  const at = VIEWS.findIndex(([id]) => id === chosen.view), next = VIEWS[(at + by + VIEWS.length) % VIEWS.length][0];
  show(next);
  byId("tab-" + next).focus();
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
}

if (typeof document !== "undefined") start();
