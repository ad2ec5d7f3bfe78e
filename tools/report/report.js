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

function chooseLine(key, view) {
  chosen.line = key;
  const [file, line] = key.split(":").map(Number);
  const kernels = kernelsOfLine(data, index, file, line);
  const found = index.lines.get(key);
  const has = chosen.kernel >= 0 && found && index.equal[chosen.kernel].some((k) => found.kernels.has(k));
  if (!has && kernels.length > 0) chosen.kernel = kernels[0];
  show(view || (chosen.view === "passes" || chosen.view === "time" ? "kernel" : chosen.view));
  const row = document.querySelector(`#source [data-line="${key}"]`);
  if (row) row.scrollIntoView({ block: "nearest" });
}

function chooseKernel(kernel, view) {
  chosen.kernel = kernel;
  const kernels = chosen.line && index.lines.get(chosen.line).kernels;
  if (kernels && !index.equal[kernel].some((k) => kernels.has(k))) chosen.line = null;
  show(view || chosen.view);
}

function chooseNothing() {
  chosen.line = null;
  chosen.kernel = -1;
  show(chosen.view);
}

/** Marks in the page what belongs to the chosen line and kernel. */
function light() {
  document.querySelectorAll(".lit, .chosen").forEach((one) => one.classList.remove("lit", "chosen"));
  const found = chosen.line && index.lines.get(chosen.line);
  const mark = (selector, test) => document.querySelectorAll(selector).forEach((one) => {
    if (test(one)) one.classList.add("lit");
  });
  if (found) {
    mark("[data-line]", (one) => one.dataset.line === chosen.line);
    mark(".kernel[data-kernel], tr[data-kernel]", (one) => index.equal[one.dataset.kernel].some((k) => found.kernels.has(k)));
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
    if (first) pane.scrollTop = first.offsetTop - pane.offsetTop - pane.clientHeight / 3;
  });
}

function nodeLine(i) {
  return lineKey(data.nodes[i][NODE.file], data.nodes[i][NODE.line]);
}

// ---- the model -------------------------------------------------------------------------------------------------------

function drawSource() {
  byId("source").innerHTML = data.files.map(([name, text], file) => {
    const lines = text.replace(/\n$/, "").split("\n").map((line, i) => {
      const key = lineKey(file, i + 1), made = index.lines.has(key);
      const row = `<span class="number">${i + 1}</span>${html(line)}`;
      return made ? `<div class="made" data-line="${key}" role="button" tabindex="-1">${row}</div>` : `<div>${row}</div>`;
    });
    return `<h2>${html(name)}</h2><div class="code">${lines.join("")}</div>`;
  }).join("");
}

// ---- one kernel and its code -----------------------------------------------------------------------------------------

function kernelChips() {
  if (!chosen.line) return "";
  const [file, line] = chosen.line.split(":").map(Number);
  const chips = kernelsOfLine(data, index, file, line).map((k) => {
    const same = index.equal[k].length;
    const here = chosen.kernel >= 0 && index.equal[chosen.kernel].includes(k);
    return `<button data-kernel="${k}" data-to="kernel" aria-pressed="${here}">${html(data.kernels[k].name)}` +
      `${same > 1 ? " × " + same : ""}</button>`;
  });
  return `<p class="dim">Kernels with values of ${html(data.files[file][0])}:${line}</p>` +
    `<div class="chips">${chips.join("") || "none: it became no code of its own"}</div>`;
}

function drawKernel() {
  if (chosen.kernel < 0) return kernelChips() + `<p class="dim">Choose a line of the model that has a coloured number,
    a box of the graph or a row of the table.</p>`;
  const kernel = data.kernels[chosen.kernel];
  return kernelChips() + `<h2 class="${kernel.kind}">${html(kernel.name)}</h2>` + drawFacts(kernel) +
    `<div class="panes">${drawOps(chosen.kernel)}${drawCode(kernel)}</div>${drawReasons(kernel)}`;
}

function fact(name, text) {
  return text ? `<dt>${name}</dt><dd>${text}</dd>` : "";
}

function drawFacts(kernel) {
  const same = index.equal[chosen.kernel];
  const code = data.codes[kernel.code];
  const axes = code ? code.schedule.map(([name, value, source]) =>
    `${name}=${value}${source === "heuristic" ? "" : ` (${html(source)})`}`).join(" ") : "";
  return `<dl class="facts">` + fact("loops", html(kernel.loops)) + fact("in emitted code", html(kernel.code_name)) +
    fact("equal to", same.length > 1 ? `${same.length - 1} more, whose code it shares` : "") +
    fact("work", html(workText(kernel))) + drawTimes(kernel) +
    fact("schedule", axes && `<details class="bare"><summary>${axes.split(" ", 3).join(" ")} …</summary>${axes}</details>`) + `</dl>`;
}

function workText(kernel) {
  return `reads ${scaledText(kernel.read, "B")}, writes ${scaledText(kernel.written, "B")}, ` +
    `${scaledText(kernel.flops)} FLOPs, ${scaledText(kernel.exponentials)} exponentials`;
}

function drawTimes(kernel) {
  const floors = kernel.rooflines.map(({ machine, times }) => fact("at least, on " + html(machine),
    times.filter(([, s]) => s > 0).map(([name, s]) => `${name} ${secondsText(s)}`).join(", ")));
  const time = data.trace && data.trace.median[chosen.kernel];
  const stages = kernel.gpu ? kernel.gpu.stages.map((s) => `${html(s.symbol)}: ${s.blocks} blocks of ${s.threads} threads, ` +
    `${s.registers} registers, ${scaledText(s.spilled, "B")} spilled, ${scaledText(s.shared, "B")} shared`) : [];
  return floors.join("") + fact("measured", time ? secondsText(time * 1e-9) + ", the median" : "") +
    fact("machine code", stages.join("<br>"));
}

function drawReasons(kernel) {
  const list = (pairs) => pairs.map(([k, values, code, text]) => `<button data-kernel="${k}" data-to="kernel">` +
    `${html(data.kernels[k].name)}</button> <code>${html(values.join(", "))}</code><br>not fused: ${html(text)} ` +
    `[${code}]<br><span class="dim">to fuse: ${html(data.reasons[code][1])}</span>`).join("<br>");
  const readers = data.kernels.flatMap((other, k) =>
    other.producers.filter(([from]) => from === chosen.kernel).map(([, ...rest]) => [k, ...rest]));
  const remarks = kernel.remarks.map(([node, outcome, code, text]) => `<code>${html(node)}</code>: ${html(text)} ` +
    `[${outcome}: ${code}]`).join("<br>");
  return `<h2>Neighbours</h2><dl class="facts">${fact("reads", list(kernel.producers))}${fact("is read by", list(readers))}` +
    `${fact("fusion stopped", remarks)}</dl>`;
}

function opText(node) {
  if (!texts) texts = stageTexts(data.stages);
  const line = node[NODE.text] < 0 ? node[NODE.name] : texts.at(-1)[node[NODE.text]];
  return line.trim().replace(/  in k\d+(  @ .*)?$/, "").replace(/  @ .*$/, "");
}

function drawOps(k) {
  const rows = index.nodesOf[k].map((i) => {
    const node = data.nodes[i];
    return `<div class="made" data-line="${nodeLine(i)}">${html(opText(node))}${placeLabel(node[NODE.file], node[NODE.line])}</div>`;
  });
  return `<div class="pane"><h3>ops (${rows.length})</h3><div class="code" tabindex="0">${rows.join("")}</div></div>`;
}

function placeLabel(file, line) {
  return file < 0 ? "" : `<span class="label">${html(data.files[file][0])}:${line}</span>`;
}

const FORM_NAMES = { kernels: "loops", llvm: "LLVM IR", asm: "machine code", cuda: "CUDA C++" };

function drawCode(kernel) {
  const code = data.codes[kernel.code];
  if (!code) return `<div class="pane"><h3>code</h3><p class="dim" style="padding:0 10px">A call of the library.</p></div>`;
  const whose = code.kernel === chosen.kernel ? "" : `, with the names of ${html(data.kernels[code.kernel].name)}`;
  return code.forms.map(({ form, text, origins }) => {
    const rows = text.split("\n").map((line, i) => {
      const origin = code.origins[origins[i]];
      if (!origin) return `<div>${html(line) || " "}</div>`;
      const kind = origin[3] ? "made shared" : "made";
      return `<div class="${kind}" data-line="${lineKey(origin[1], origin[2])}">${html(line)}` +
        `<span class="label">${html(origin[0])}</span></div>`;
    });
    return `<div class="pane" data-form="${form}"><h3>${FORM_NAMES[form] || form}${whose}</h3>` +
      `<div class="code" tabindex="0">${rows.join("")}</div></div>`;
  }).join("");
}

// ---- the graph -------------------------------------------------------------------------------------------------------

const BOX = { width: 236, height: 44, gapX: 76, gapY: 20, top: 64, op: 15 };

function boxHeight(k) {
  return BOX.height + (chosen.ops.has(k) ? index.nodesOf[k].length * BOX.op + 6 : 0);
}

function drawGraph() {
  const columns = graphColumns(data, chosen.open);
  const places = new Map();
  let x = 20, bottom = 0, boxes = "";
  for (const column of columns) {
    let y = BOX.top;
    for (const k of column.kernels) {
      places.set(k, { x, y, height: boxHeight(k) });
      y += boxHeight(k) + BOX.gapY;
    }
    if (column.layer >= 0) boxes += drawLayer(column, x, y);
    x += BOX.width + BOX.gapX;
    bottom = Math.max(bottom, y);
  }
  const edges = shownEdges(data, index.edges, chosen.open).map((edge) => drawEdge(edge, places)).join("");
  const kernels = [...places].map(([k, place]) => drawBox(k, place)).join("");
  const all = data.layers.length > 0 ? `<p><button data-fold="all">${chosen.open.size ? "Fold all layers" : "Unfold all layers"}</button>
    <span class="dim">Boxes are kernels in their order, column by column. ⊕ shows the ops of one; dashed arrows lead to the
    next of the layers that a box stands for. Code (key 1) is that of the chosen kernel.</span></p>` : "";
  return `${all}<div class="picture"><svg width="${x}" height="${bottom + 20}" role="group" aria-label="Fused graph">
    <defs><marker id="tip-mark" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">
    <path d="M0 0L8 4L0 8z" fill="var(--dim)"/></marker></defs>${boxes}${edges}${kernels}</svg></div>`;
}

function drawLayer({ layer, count, part, kernels }, x, bottom) {
  const open = chosen.open.has(layer);
  const title = open ? `▾ ${part + 1} of ${count}` : `▸ ${count} times these ${kernels.length} kernels`;
  return `<rect class="layer" x="${x - 14}" y="14" width="${BOX.width + 28}" height="${bottom - 16}" rx="10"/>
    <g class="fold" data-layer="${layer}" role="button" tabindex="0" aria-expanded="${open}">
    <rect x="${x - 14}" y="14" width="${BOX.width + 28}" height="36" fill="transparent"/>
    <text x="${x}" y="38">${title}</text></g>`;
}

function drawBox(k, { x, y, height }) {
  const kernel = data.kernels[k], name = kernel.name;
  const ops = chosen.ops.has(k) ? index.nodesOf[k].map((i, row) => {
    const node = data.nodes[i];
    return `<text class="small" data-value="${i}" data-of="${nodeLine(i)}" x="${x + 12}" y="${y + BOX.height + 8 + row * BOX.op}">` +
      `${html(clip(node[NODE.name] + " = " + node[NODE.op], 40))}</text>`;
  }).join("") : "";
  return `<g class="kernel ${kernel.kind}" data-kernel="${k}" role="button" tabindex="0" aria-label="${html(name)}">
    <title>${html(name + "\n" + kernel.loops + "\n" + workText(kernel))}</title>
    <rect class="box" x="${x}" y="${y}" width="${BOX.width}" height="${height}" rx="6"/>
    <text x="${x + 10}" y="${y + 18}">${html(clip(name, 32))}</text>
    <text class="small" x="${x + 10}" y="${y + 34}">${html(clip(kernel.loops, 38))}</text>${ops}
    <g data-ops="${k}" role="button" aria-label="ops"><rect x="${x + BOX.width - 24}" y="${y + 2}" width="22" height="22" fill="transparent"/>
    <text x="${x + BOX.width - 18}" y="${y + 18}">${chosen.ops.has(k) ? "⊖" : "⊕"}</text></g></g>`;
}

function drawEdge({ from, to, back }, places) {
  const a = places.get(from), b = places.get(to);
  const ends = `class="edge${back ? " back" : ""}" data-ends="k${from} k${to}" marker-end="url(#tip-mark)"`;
  if (a.x === b.x && b.y > a.y && b.y - a.y - a.height <= BOX.gapY)
    return `<path ${ends} d="M${a.x + BOX.width / 2} ${a.y + a.height}V${b.y}"/>`;
  const y1 = a.y + BOX.height / 2, y2 = b.y + BOX.height / 2;
  if (a.x === b.x) {
    const right = a.x + BOX.width, out = right + 16 + Math.min(40, Math.abs(y2 - y1) / 8);
    return `<path ${ends} d="M${right} ${y1}C${out} ${y1} ${out} ${y2} ${right} ${y2}"/>`;
  }
  const x1 = a.x < b.x ? a.x + BOX.width : a.x, x2 = a.x < b.x ? b.x : b.x + BOX.width, middle = (x1 + x2) / 2;
  return `<path ${ends} d="M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}"/>`;
}

function clip(text, length) {
  return text.length > length ? text.slice(0, length - 1) + "…" : text;
}

function toggle(set, value) {
  if (!set.delete(value)) set.add(value);
}

function fold(layer) {
  if (layer !== "all") toggle(chosen.open, Number(layer));
  else if (chosen.open.size) chosen.open.clear();
  else data.layers.forEach((_, i) => chosen.open.add(i));
  redraw();
}

/** Draws the view again where it stands. */
function redraw() {
  const picture = document.querySelector(".picture");
  const left = picture ? picture.scrollLeft : 0, top = byId("view").scrollTop;
  show(chosen.view);
  byId("view").scrollTop = top;
  if (picture) document.querySelector(".picture").scrollLeft = left;
}

// ---- passes ----------------------------------------------------------------------------------------------------------

function drawPasses() {
  return `<p class="dim">Passes that changed the graph, in their order. Names of values stay the same from pass to pass.</p>` +
    data.stages.map((stage, i) => {
      const [less, more] = changeCounts(stage);
      return `<details data-stage="${i}"><summary><b>${html(stage.name)}</b>&ensp;<span class="dim">−${less} +${more} lines:
        ${html(stage.reason)}</span></summary><div class="diff-rows"></div></details>`;
    }).join("");
}

function fillOpenPasses() {
  document.querySelectorAll("details[data-stage]").forEach((details) =>
    details.addEventListener("toggle", () => details.open && !details.dataset.shown && moreRows(details)));
}

function moreRows(details) {
  if (!texts) texts = stageTexts(data.stages);
  const i = Number(details.dataset.stage), from = Number(details.dataset.shown || 0);
  const rows = diffRows(i > 0 ? texts[i - 1] : [], data.stages[i]);
  const to = Math.min(rows.length, from + ROWS_AT_ONCE);
  details.dataset.shown = to;
  const body = details.querySelector(".diff-rows");
  body.querySelector(".more-rows")?.remove();
  body.insertAdjacentHTML("beforeend", drawRows(rows.slice(from, to)));
  if (to < rows.length)
    body.insertAdjacentHTML("beforeend", `<button class="more-rows" data-more>${rows.length - to} more rows</button>`);
}

function drawRows(rows) {
  const side = (at, mark) => rows.map((row) => {
    if (!row) return `<div class="gap">⋯</div>`;
    const number = row[at] < 0 ? "" : row[at] + 1;
    return `<div class="${row[4] && row[at] >= 0 ? mark : ""}"><span class="code number">${number}</span>${html(row[at + 1])}</div>`;
  }).join("");
  return `<div class="diff"><div class="side">${side(0, "less")}</div><div class="side">${side(2, "more")}</div></div>`;
}

// ---- the table of kernels --------------------------------------------------------------------------------------------

const COLUMNS = [["number", "k"], ["name", "kernel"], ["kind", "kind"], ["count", "×"], ["ops", "ops"], ["bytes", "bytes"],
                 ["flops", "FLOPs"], ["exponentials", "exp, log"], ["least", "at least"], ["measured", "measured"],
                 ["reached", "of roofline"], ["share", "share"]];

function tableRows() {
  return data.kernels.map((kernel, k) => {
    const times = kernel.rooflines.length ? kernel.rooflines[0].times : [];
    const [bound, least] = times.reduce((a, b) => (b[1] > a[1] ? b : a), ["", 0]);
    const measured = data.trace ? (data.trace.median[k] || 0) * 1e-9 : 0;
    return { number: k, name: kernel.name, kind: kernel.kind, count: 1, ops: index.nodesOf[k].length,
             bytes: kernel.read + kernel.written, flops: kernel.flops, exponentials: kernel.exponentials, times, bound,
             least, measured, reached: measured > 0 ? least / measured : 0, share: 0 };
  });
}

function drawTable() {
  const all = tableRows(), [column, descending] = chosen.sort;
  const measured = Boolean(data.trace), rated = all.some((row) => row.least > 0);
  const time = measured ? "measured" : rated ? "least" : "bytes";
  const total = all.reduce((sum, row) => sum + row[time], 0) || 1;
  all.forEach((row) => { row.share = row[time] / total; });
  const rows = chosen.folded ? foldedRows(data, all) : all;
  const most = {};
  for (const key of WORK) most[key] = Math.max(1, ...rows.map((row) => row[key]));
  const shown = COLUMNS.filter(([id]) => (id !== "measured" || measured) && (id !== "least" || rated) &&
    (id !== "reached" || (measured && rated)));
  const heads = shown.map(([id, name]) => `<th class="${isFigure(id) ? "figure" : ""}" aria-sort="${id !== column ? "none" :
    descending ? "descending" : "ascending"}"><button data-sort="${id}">${name}${id === column ? (descending ? " ▾" : " ▴") : ""}</button></th>`);
  const body = sorted(rows, column, descending).map((row) => drawRow(row, shown, most));
  const fold = data.layers.length > 0 ? `<button data-rows>${chosen.folded ? "Show all kernels" : "Show layers once"}</button> ` : "";
  return `<p class="dim">${fold}Shares are of ${measured ? "measured time" : rated ? "the least times" : "bytes"}. Bars (${drawLegend(rows)}): ${rated ?
    "the least time by resource, of the one that bounds the kernel, on " + html(data.kernels[0].rooflines[0].machine) :
    "of the largest kernel; where --set gives all sizes, this machine is measured for least times"}.</p>
    <table><thead><tr>${heads.join("")}<th><button disabled>${rated ? "roofline" : "work"}</button></th></tr></thead>
    <tbody>${body.join("")}</tbody></table>`;
}

const WORK = ["bytes", "flops", "exponentials"];
const COLOURS = { bytes: "var(--accent)", exponentials: "var(--rows)", MUFU: "var(--rows)", issue: "var(--text)",
                  product: "var(--library)" };

function colourOf(resource) {
  return COLOURS[resource] || "var(--walk)";
}

function drawLegend(rows) {
  const names = new Set(rows.flatMap((row) => row.times.filter(([, s]) => s > 0).map(([name]) => name)));
  return [...(names.size > 0 ? names : WORK)].map((name) =>
    `<i class="key" style="background:${colourOf(name)}"></i>${html(name)}`).join(", ");
}

function isFigure(id) {
  return !["name", "kind"].includes(id);
}

function cellText(row, id) {
  if (id === "bytes") return scaledText(row.bytes, "B");
  if (id === "least" || id === "measured") return row[id] > 0 ? secondsText(row[id]) : "";
  if (id === "share" || id === "reached") return (100 * row[id]).toFixed(1) + "%";
  return typeof row[id] === "number" && id !== "number" ? scaledText(row[id]) : String(row[id]);
}

function drawRow(row, shown, most) {
  const bars = row.times.length > 0 ?
    row.times.filter(([, s]) => s > 0).map(([name, s]) => [name, s / row.least]) :
    WORK.map((key) => [key, row[key] / most[key]]);
  const cells = shown.map(([id]) => `<td class="${isFigure(id) ? "figure" : id === "name" ? "name" : row.kind}">${html(cellText(row, id))}</td>`);
  return `<tr data-kernel="${row.number}" data-to="kernel" tabindex="0">${cells.join("")}<td>${bars.map(([name, part]) =>
    `<span class="bar" title="${html(name)}: ${(100 * part).toFixed(0)}%"><i style="width:${(100 * part).toFixed(1)}%;background:${colourOf(name)}"></i></span>`).join("")}</td></tr>`;
}

function sortBy(column) {
  const [before, descending] = chosen.sort;
  chosen.sort = [column, column === before ? !descending : isFigure(column) && column !== "number"];
  show("kernels");
}

// ---- memory ----------------------------------------------------------------------------------------------------------

/** What the view has room for beside a margin. */
function pictureWidth(margin) {
  return Math.max(500, byId("view").clientWidth - 40 - margin);
}

function drawMemory() {
  const count = data.kernels.length, width = pictureWidth(90), height = 420, left = 70;
  const step = width / count, scale = data.arena > 0 ? height / data.arena : 0;
  const values = data.memory.map((value, i) => {
    const [name, node, bytes, offset, first, last] = value;
    const title = `${name}: ${scaledText(bytes, "B")} at ${scaledText(offset, "B")}, k${first} to k${last}`;
    const of = node >= 0 ? ` data-of="${nodeLine(node)}"` : "";
    const thin = bytes * scale < 4 ? ' style="stroke:none"' : "";
    return `<rect class="value"${thin} data-value="${i}"${of} x="${(left + first * step).toFixed(2)}" y="${(20 + height - (offset + bytes) * scale).toFixed(2)}"
      width="${((last - first + 1) * step).toFixed(2)}" height="${(bytes * scale).toFixed(2)}" fill="hsl(${(i * 137) % 360 | 0} 55% 55%)"
      ><title>${html(title)}</title></rect>`;
  });
  const taken = bytesByKernel(data), peak = Math.max(0, ...taken);
  const line = taken.map((bytes, k) => `${(left + (k + 0.5) * step).toFixed(1)},${(20 + height - bytes * scale).toFixed(1)}`);
  const ticks = [0, .25, .5, .75, 1].map((part) => `<text class="small" x="${left - 6}" y="${24 + height * (1 - part)}" text-anchor="end">
    ${scaledText(data.arena * part, "B")}</text>`);
  const marks = range(0, 11).map((i) => Math.floor(i * (count - 1) / 10)).map((k) =>
    `<text class="small" x="${left + (k + .5) * step}" y="${height + 38}" text-anchor="middle">k${k}</text>`);
  return `<p>Memory between kernels: <b>${scaledText(data.arena, "B")}</b> planned, at most ${scaledText(peak, "B")} of it taken at a time,
    while k${Math.max(0, taken.indexOf(peak))} runs. <span class="dim">Across: kernels in their order. Up: places in memory. A box is a value, from the kernel
    that stores it to the last one that reads it; the line is what is taken. Parameters, inputs and outputs lie elsewhere.</span></p>
    <p id="tip"></p><div class="picture"><svg width="${left + width + 20}" height="${height + 50}" role="img" aria-label="Plan of memory">
    ${ticks.join("")}${marks.join("")}${values.join("")}<polyline points="${line.join(" ")}" fill="none" stroke="var(--text)" stroke-width="1.5"
    pointer-events="none"/></svg></div>`;
}

function chooseMemory(i) {
  const [name, node, bytes, offset, first, last] = data.memory[i];
  if (node >= 0 && data.nodes[node][NODE.file] >= 0) chooseLine(nodeLine(node), "memory");
  byId("tip").textContent = `${name}: ${scaledText(bytes, "B")} at ${scaledText(offset, "B")}, from k${first} to k${last}` +
    (node >= 0 ? "; " + opText(data.nodes[node]) : "; a temporary of the kernel");
}

// ---- time ------------------------------------------------------------------------------------------------------------

function drawTime() {
  if (!data.trace) return `<p class="dim">There is no trace. Record one with <code>--trace step.json</code> of train, generate or bench,
    and give it to this command with <code>--trace step.json</code>.</p>`;
  const { runs, last } = data.trace, length = runs.at(-1)[1], width = pictureWidth(70);
  const longest = Math.max(...runs.map((run) => run[1]));
  const bars = runs.slice(-200).map(([, time], i) => `<rect x="${i * 14}" y="${80 - 76 * time / longest}" width="11" height="${76 * time / longest}"
    fill="var(--accent)"><title>run ${runs.length - Math.min(200, runs.length) + i + 1}: ${secondsText(time * 1e-9)}</title></rect>`);
  const blocks = last.map(([k, begin, time]) => `<g class="kernel ${data.kernels[k].kind}" data-kernel="${k}" role="button" tabindex="0">
    <title>${html(data.kernels[k].name)}: ${secondsText(time * 1e-9)}</title><rect class="box" style="fill:currentColor" x="${(begin / length * width).toFixed(2)}"
    y="${{ walk: 10, rows: 50, library: 90 }[data.kernels[k].kind]}" width="${Math.max(.6, time / length * width).toFixed(2)}" height="34" rx="1"/></g>`);
  const names = ["walk", "rows", "library"].map((kind, i) => `<text class="${kind}" x="${width + 10}" y="${32 + 40 * i}">${kind}</text>`);
  return `<h2>Runs</h2><p class="dim">${runs.length} in the trace, from ${secondsText(Math.min(...runs.map((r) => r[1])) * 1e-9)} to
    ${secondsText(longest * 1e-9)}; the last 200 at most.</p><div class="picture"><svg width="${Math.max(200, bars.length * 14)}" height="84">${bars.join("")}</svg></div>
    <h2>The last run: ${secondsText(length * 1e-9)}</h2><div class="picture"><svg width="${width + 70}" height="140">${blocks.join("")}${names.join("")}
    </svg></div><h2>By code</h2>${drawTotals(last, length)}`;
}

/** Time of equal kernels together, longest first. */
function drawTotals(last, length) {
  const totals = new Map();
  for (const [k, , time] of last) {
    const kernel = data.kernels[k], name = kernel.code_name || kernel.name.replace(/^k\d+_/, "");
    const total = totals.get(name) || { name, kernel: k, count: 0, time: 0 };
    total.count++;
    total.time += time;
    totals.set(name, total);
  }
  const rows = sorted([...totals.values()], "time", true).map((one) => `<tr data-kernel="${one.kernel}" data-to="kernel" tabindex="0">
    <td class="figure">${secondsText(one.time * 1e-9)}</td><td class="figure">${(100 * one.time / length).toFixed(1)}%</td>
    <td class="figure">${one.count} ×</td><td class="name">${html(one.name)}</td></tr>`);
  return `<table><tbody>${rows.join("")}</tbody></table>`;
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
  else if ((found = at("line"))) index.lines.has(found.dataset.line) && chooseLine(found.dataset.line, found.closest("#source") && chosen.view === "kernels" ? "kernel" : undefined);
  else if ((found = at("kernel"))) { chosen.kernel = Number(found.dataset.kernel); chooseKernelHere(found); }
}

function chooseKernelHere(found) {
  const picture = found.closest(".picture"), again = chosen.view === "graph" || chosen.view === "time";
  if (!picture || !again) return chooseKernel(Number(found.dataset.kernel), found.dataset.to);
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
