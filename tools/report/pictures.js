// The views that are pictures.

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
    <defs><marker id="tip-mark" viewBox="0 0 8 8" refX="8" refY="4" markerUnits="userSpaceOnUse" markerWidth="8" markerHeight="8" orient="auto">
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
    return `<text class="small" data-line="${nodeLine(i)}" x="${x + 12}" y="${y + BOX.height + 8 + row * BOX.op}">` +
      `${html(clip(node[NODE.name] + " = " + node[NODE.op], 40))}</text>`;
  }).join("") : "";
  return `<g class="kernel ${kernel.kind}" data-kernel="${k}" role="button" tabindex="0" aria-label="${html(name)}">
    <title>${html(name + "\n" + kernel.loops + "\n" + workText(kernel))}</title>
    <rect class="box" x="${x}" y="${y}" width="${BOX.width}" height="${height}" rx="6"/>
    <text x="${x + 10}" y="${y + 18}">${html(clip(name, 30))}</text>
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
