// The views of texts and tables.

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
  return `<p class="dim">Kernels for ${html(data.files[file][0])}:${line}</p>` +
    `<div class="chips">${chips.join("") || "none"}</div>`;
}

function drawKernel() {
  const chips = `<div id="chips">${kernelChips()}</div>`;
  if (chosen.kernel < 0) return chips + `<p class="dim">Choose a line of the model that has a coloured number,
    a box of the graph or a row of the table.</p>`;
  const kernel = data.kernels[chosen.kernel];
  return chips + `<h2 class="${kernel.kind}">${html(kernel.name)}</h2>` + drawFacts(kernel) +
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

const FORM_NAMES = { kernels: "loops", llvm: "LLVM IR", asm: "machine code", cuda: "CUDA C++", sass: "machine code",
                     ptx: "PTX" };

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
    return `<div class="${row[4] && row[at] >= 0 ? mark : ""}"><span class="number">${number}</span>${html(row[at + 1])}</div>`;
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
