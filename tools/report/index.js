// What the data of a report says, without a page: texts, and which lines, values, kernels and code belong together.
"use strict";

const NODE = { name: 0, op: 1, kernel: 2, file: 3, line: 4, text: 5, operands: 6 };

/** The text of each stage as lines, from what each changed. */
function stageTexts(stages) {
  const texts = [];
  let lines = [];
  for (const stage of stages) {
    const next = [];
    let at = 0;
    for (const [begin, end, count, text] of stage.hunks) {
      next.push(...lines.slice(at, begin));
      if (count > 0) next.push(...text.split("\n"));
      at = end;
    }
    lines = next.concat(lines.slice(at));
    texts.push(lines);
  }
  return texts;
}

/** Lines of the same value beside each other, where their order allows: pairs of indices, -1 where there is none. */
function pairedLines(old, made, ahead = 400) {
  const nameOf = (line) => line.split(/: | = /, 1)[0];
  const places = new Map(made.map((line, i) => [nameOf(line), i]));
  const pairs = [];
  let next = 0;
  old.forEach((line, i) => {
    const place = places.get(nameOf(line));
    const found = place !== undefined && place >= next && place < next + ahead;
    for (; found && next < place; next++) pairs.push([-1, next]);
    pairs.push([i, found ? next++ : -1]);
  });
  for (; next < made.length; next++) pairs.push([-1, next]);
  return pairs;
}

/** Rows of a side-by-side diff: [number, old line, number, new line, changed]; null: a gap between hunks. */
function diffRows(before, stage, around = 3) {
  const rows = [];
  let at = 0, shift = 0;
  const same = (from, to) => {
    for (let i = from; i < to; i++) rows.push([i, before[i], i + shift, before[i], false]);
  };
  stage.hunks.forEach(([begin, end, count, text], i) => {
    const added = count > 0 ? text.split("\n") : [];
    if (begin - at > 2 * around + 1) {
      if (i > 0) same(at, at + around);
      rows.push(null);
      same(begin - around, begin);
    } else {
      same(at, begin);
    }
    for (const [from, to] of pairedLines(before.slice(begin, end), added))
      rows.push([from < 0 ? -1 : begin + from, from < 0 ? "" : before[begin + from],
                 to < 0 ? -1 : begin + shift + to, to < 0 ? "" : added[to], true]);
    shift += count - (end - begin);
    at = end;
  });
  same(at, Math.min(before.length, at + around));
  return rows;
}

/** Changed lines of a stage: [taken away, added]. */
function changeCounts(stage) {
  return stage.hunks.reduce(([less, more], [begin, end, count]) => [less + end - begin, more + count], [0, 0]);
}

function lineKey(file, line) {
  return file + ":" + line;
}

/** Everything that is looked up: by kernel its values, and by line of the model its values, kernels and code. */
function makeIndex(data) {
  const nodesOf = data.kernels.map(() => []);
  const lines = new Map();  // key -> {nodes, kernels, codes}
  const at = (file, line) => {
    const key = lineKey(file, line);
    if (!lines.has(key)) lines.set(key, { nodes: [], kernels: new Set(), codes: new Set() });
    return lines.get(key);
  };
  data.nodes.forEach((node, i) => {
    if (node[NODE.kernel] >= 0) nodesOf[node[NODE.kernel]].push(i);
    if (node[NODE.file] < 0) return;
    const line = at(node[NODE.file], node[NODE.line]);
    line.nodes.push(i);
    if (node[NODE.kernel] >= 0) line.kernels.add(node[NODE.kernel]);
  });
  data.codes.forEach((code, c) => {
    for (const [, file, line] of code.origins) if (file >= 0) at(file, line).codes.add(c);
  });
  return { nodesOf, lines, edges: kernelEdges(data), equal: equalKernels(data) };
}

/** Of each kernel the ones that have its code, itself included; of a call of the library itself alone. */
function equalKernels(data) {
  const byCode = data.codes.map(() => []);
  data.kernels.forEach((kernel, k) => { if (kernel.code >= 0) byCode[kernel.code].push(k); });
  return data.kernels.map((kernel, k) => (kernel.code >= 0 ? byCode[kernel.code] : [k]));
}

/** Pairs of kernels, "producer consumer", of which one reads what the other leaves, through views and joins, too. */
function kernelEdges(data) {
  const makers = [];  // by value: the kernels behind it
  const edges = new Set();
  data.nodes.forEach((node, i) => {
    const from = new Set();
    for (const o of node[NODE.operands]) for (const k of makers[o]) from.add(k);
    const own = node[NODE.kernel];
    makers[i] = own >= 0 ? new Set([own]) : from;
    if (own >= 0) for (const k of from) if (k !== own) edges.add(k + " " + own);
  });
  return [...edges].map((edge) => edge.split(" ").map(Number));
}

/** Whether a kernel, or one that is equal to it, has values of a line of the model, or code for it. */
function touches(data, index, key, kernel) {
  const found = index.lines.get(key);
  return Boolean(found) && (found.codes.has(data.kernels[kernel].code) || index.equal[kernel].some((k) => found.kernels.has(k)));
}

/** The kernels of a line of the model, and for each of their codes the first kernel only. */
function kernelsOfLine(data, index, file, line) {
  const found = index.lines.get(lineKey(file, line));
  if (!found) return [];
  const seen = new Set();
  const all = new Set([...found.kernels, ...[...found.codes].map((c) => data.codes[c].kernel)]);
  return [...all].sort((a, b) => a - b).filter((k) => {
    const kernel = data.kernels[k], key = kernel.code >= 0 ? kernel.code : kernel.code_name || kernel.name.replace(/^k\d+/, "");
    return !seen.has(key) && seen.add(key);
  });
}

/** Rows of kernels with those of folded layers taken together: how many, and their shares. */
function foldedRows(data, rows) {
  const shown = new Map();
  for (const row of rows) {
    const k = shownKernel(data, new Set(), row.number), before = shown.get(k);
    shown.set(k, before ? { ...before, count: before.count + 1, share: before.share + row.share } : row);
  }
  return [...shown.values()];
}

/** A copy of rows in the order of a column; equal ones stay as they were. */
function sorted(rows, column, descending) {
  const value = (row) => row[column];
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  return rows.map((row, i) => [row, i])
    .sort(([a, i], [b, k]) => (descending ? -1 : 1) * compare(value(a), value(b)) || i - k)
    .map(([row]) => row);
}

/** Columns of the graph's picture: {kernels, layer, count, open}. `open`: layers (by number) that are unfolded. */
function graphColumns(data, open) {
  const columns = [];
  const plain = (begin, end) => {
    for (let k = begin; k < end; k += 8)
      columns.push({ kernels: range(k, Math.min(end, k + 8)), layer: -1, count: 1, part: 0 });
  };
  let at = 0;
  data.layers.forEach(([first, period, count], layer) => {
    plain(at, first);
    const shown = open.has(layer) ? count : 1;
    for (let part = 0; part < shown; part++)
      columns.push({ kernels: range(first + part * period, first + (part + 1) * period), layer, count, part });
    at = first + period * count;
  });
  plain(at, data.kernels.length);
  return columns;
}

function range(begin, end) {
  return Array.from({ length: end - begin }, (_, i) => begin + i);
}

/** The kernel that stands for another where its layer is folded. */
function shownKernel(data, open, kernel) {
  for (let layer = 0; layer < data.layers.length; layer++) {
    const [first, period, count] = data.layers[layer];
    if (kernel >= first && kernel < first + period * count && !open.has(layer))
      return first + (kernel - first) % period;
  }
  return kernel;
}

/** Pairs of shown kernels; `back`: from one layer to the next one, which is folded into the same box. */
function shownEdges(data, edges, open) {
  const found = new Map();
  for (const [from, to] of edges) {
    const a = shownKernel(data, open, from), b = shownKernel(data, open, to);
    found.set(a + " " + b, { from: a, to: b, back: a >= b });
  }
  return [...found.values()];
}

/** Bytes that are taken while each kernel runs. */
function bytesByKernel(data) {
  const change = new Array(data.kernels.length + 1).fill(0);
  for (const [, , bytes, , first, last] of data.memory) {
    change[first] += bytes;
    change[last + 1] -= bytes;
  }
  let sum = 0;
  return change.slice(0, -1).map((bytes) => (sum += bytes));
}

/** 1.23 G */
function scaledText(number, unit = "") {
  const units = ["", " k", " M", " G", " T", " P"];
  let u = 0;
  for (; Math.abs(number) >= 1000 && u < units.length - 1; u++) number /= 1000;
  const digits = number >= 100 || (u === 0 && Number.isInteger(number)) ? 0 : number >= 10 ? 1 : 2;
  return number.toFixed(digits) + (units[u] || " ").replace(/ $/, unit ? " " : "") + unit;
}

function secondsText(seconds) {
  if (seconds >= 1) return seconds.toPrecision(4) + " s";
  if (seconds >= 1e-3) return (seconds * 1e3).toPrecision(4) + " ms";
  if (seconds >= 1e-6) return (seconds * 1e6).toPrecision(3) + " µs";
  return seconds > 0 && seconds < 1e-9 ? "< 1 ns" : (seconds * 1e9).toPrecision(3) + " ns";
}

function escapeHtml(text) {
  const marks = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (c) => marks[c]);
}

if (typeof module !== "undefined")
  module.exports = { stageTexts, diffRows, changeCounts, makeIndex, touches, kernelsOfLine, sorted, foldedRows, graphColumns, shownEdges,
                     bytesByKernel, scaledText, secondsText, escapeHtml };
