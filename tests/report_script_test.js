// node report_script_test.js FOLDER data.json: what the page of a report looks up, without a page.
"use strict";
const assert = require("assert");
const fs = require("fs");
const [folder, file] = process.argv.slice(2);
const page = require(folder + "/index.js");
const data = JSON.parse(fs.readFileSync(file, "utf8"));
const index = page.makeIndex(data);

// The views are at least a program.
new Function(["index", "views", "pictures", "report"].map((name) => fs.readFileSync(`${folder}/${name}.js`, "utf8")).join(""));

// From a line to its values, kernels and code, and back.
const mixer = data.files.findIndex(([name]) => name === "mamba.mb");
const scan = data.files[mixer][1].split("\n").findIndex((line) => line.includes("scan<L>")) + 1;
const found = index.lines.get(mixer + ":" + scan);
const kernels = page.kernelsOfLine(data, index, mixer, scan);
assert(kernels.length >= 2, "forward and backward");
data.kernels.forEach((kernel, k) => {
  const has = found.kernels.has(k) || found.codes.has(kernel.code);
  assert.strictEqual(page.touches(data, index, mixer + ":" + scan, k), has, "equal kernels have the same lines: k" + k);
});
for (const k of found.kernels) {
  assert(index.nodesOf[k].some((i) => data.nodes[i][3] === mixer && data.nodes[i][4] === scan));
  assert(kernels.some((one) => index.equal[one].includes(k)), "one of its code stands for k" + k);
  assert(found.codes.has(data.kernels[k].code));
}
assert.deepStrictEqual(page.kernelsOfLine(data, index, mixer, 2), []);

// Texts and diffs: what a row says is what the texts say.
const texts = page.stageTexts(data.stages);
data.stages.forEach((stage, s) => {
  const before = s > 0 ? texts[s - 1] : [];
  const rows = page.diffRows(before, stage);
  let less = 0, more = 0;
  for (const row of rows) {
    if (!row) continue;
    const [from, old, to, made, changed] = row;
    if (from >= 0) assert.strictEqual(old, before[from]);
    if (to >= 0) assert.strictEqual(made, texts[s][to]);
    if (changed && from >= 0) less++;
    if (changed && to >= 0) more++;
  }
  assert.deepStrictEqual([less, more], page.changeCounts(stage));
  assert.strictEqual(texts[s].length - before.length, more - less);
});

// The graph: folded, each kernel is shown by one; unfolded, by itself.
const shown = (open) => page.graphColumns(data, open).flatMap((column) => column.kernels);
const all = new Set(data.layers.map((_, i) => i));
assert.deepStrictEqual(shown(all), data.kernels.map((_, k) => k));
const repeated = data.layers.reduce((sum, [, period, count]) => sum + period * (count - 1), 0);
assert(repeated > 0);
assert.strictEqual(shown(new Set()).length, data.kernels.length - repeated);
for (const open of [new Set(), all]) {
  const boxes = new Set(shown(open));
  for (const edge of page.shownEdges(data, index.edges, open)) {
    assert(boxes.has(edge.from) && boxes.has(edge.to));
    assert.strictEqual(edge.back, edge.from >= edge.to);
    assert(!edge.back || open.size === 0, "kernels come after what they read");
  }
}
const reads = new Set(index.edges.map(([from, to]) => from + " " + to));
data.kernels.forEach((kernel, k) => kernel.producers.forEach(([from]) => assert(reads.has(from + " " + k))));

// Sorting: by number, stable, and by text with numbers in it.
const rows = [{ name: "k10", n: 1 }, { name: "k9", n: 3 }, { name: "k1", n: 3 }];
const order = (column, descending) => page.sorted(rows, column, descending).map((row) => row.name);
assert.deepStrictEqual(order("name", false), ["k1", "k9", "k10"]);
assert.deepStrictEqual(order("n", true), ["k9", "k1", "k10"]);
assert.deepStrictEqual(rows[0].name, "k10");

// A table of folded layers has all kernels and all of their shares.
const kernelRows = data.kernels.map((_, number) => ({ number, count: 1, share: 1 }));
const foldedRows = page.foldedRows(data, kernelRows);
assert.deepStrictEqual(foldedRows.map((row) => row.number), shown(new Set()));
for (const key of ["count", "share"])
  assert.strictEqual(foldedRows.reduce((sum, row) => sum + row[key], 0), data.kernels.length);

// Memory: at most the arena.
const taken = page.bytesByKernel(data);
assert.strictEqual(taken.length, data.kernels.length);
assert(Math.max(...taken) <= data.arena && Math.min(...taken) >= 0);

assert.strictEqual(page.scaledText(1234567, "B"), "1.23 MB");
assert.strictEqual(page.scaledText(999), "999");
assert.strictEqual(page.secondsText(0.0123), "12.30 ms");
assert.strictEqual(page.escapeHtml("<a href='x'>&</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&lt;/a&gt;");
console.log("good");
