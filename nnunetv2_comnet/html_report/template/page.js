"use strict";
// Fills the page from its own data: scores, cases, records of the run; then starts the viewer.

const FIRST_COLUMNS = ["dice", "hd95_mm", "lesion_dice"];

function summaryTable(evaluations) {
  const regions = [...new Set(evaluations.flatMap((one) => one.regions))];
  const several = evaluations.length > 1;
  const columns = [{ title: "Metric" }, ...(several ? [{ title: "Evaluation" }] : []), { title: "Cases", numeric: true }];
  const hint = "mean \u00b1 standard deviation over cases (median)";
  for (const region of regions) columns.push({ title: region, numeric: true, hint });
  columns.push({ title: "mean of regions", numeric: true });
  const names = [...new Set(evaluations.flatMap((one) => one.metrics.map((metric) => metric.name)))];
  const rows = [];
  for (const name of names) {
    for (const one of evaluations) {
      const at = one.metrics.findIndex((metric) => metric.name === name);
      if (at < 0) continue;
      const metric = one.metrics[at];
      const cells = [...regions.map((region) => one.summary[at][one.regions.indexOf(region)]), one.summary[at].at(-1)];
      const counted = Math.max(...cells.map((cell) => (cell ? cell.n : 0)));
      rows.push({
        cells: [{ text: metric.label, value: metric.label }, ...(several ? [{ text: one.name, value: one.name }] : []),
          { text: String(counted), value: counted }, ...cells.map((cell) => summaryCell(cell, metric.digits))],
      });
    }
  }
  return sortableTable(columns, rows, "Summary of the scores");
}

function summaryCell(cell, digits) {
  if (!cell || !cell.n) return { text: "\u2013", value: null };
  const spread = cell.sd === null ? "" : ` \u00b1 ${asText(cell.sd, digits)}`;
  const median = make("small", { text: `(${asText(cell.median, digits)})` });
  const node = make("span", null, `${asText(cell.mean, digits)}${spread} `, median);
  return { value: asNumber(cell.mean), node };
}

// Columns: case, the chosen metrics by region, what is to be said of the case.
function caseTable(index, evaluation, chosen, wanted, open) {
  const metrics = evaluation ? evaluation.metrics.filter((metric) => chosen.has(metric.name)) : [];
  const columns = [{ title: "Case" }];
  for (const metric of metrics) {
    for (const region of evaluation.regions) {
      const better = metric.better ? `, ${metric.better} is better` : "";
      columns.push({ title: `${metric.label} ${region}`, numeric: true, hint: `${metric.label} of ${region}${better}` });
    }
  }
  const rows = index.cases.filter((one) => one.name.toLowerCase().includes(wanted)).map((one) => {
    const scores = evaluation && evaluation.cases[one.name];
    const cells = metrics.flatMap((metric) => evaluation.regions.map((_, region) => {
      const value = scores ? scores.values[evaluation.metrics.indexOf(metric)][region] : null;
      return { text: asText(value, metric.digits), value: asNumber(value) };
    }));
    const notes = notesOf(one, evaluation, scores);
    return { cells: [nameCell(one, open), ...cells, { text: notes, value: notes, class: "note" }] };
  });
  if (rows.some((row) => row.cells.at(-1).value)) columns.push({ title: "Notes" });
  else for (const row of rows) row.cells.pop();
  return sortableTable(columns, rows, "Cases");
}

function nameCell(one, open) {
  if (one.number === null) return { text: one.name, value: one.name };
  const button = make("button", { type: "button", class: "link", text: one.name, title: "Open in the viewer" });
  button.addEventListener("click", () => open(one.name));
  return { node: button, value: one.name };
}

function notesOf(one, evaluation, scores) {
  const said = [...one.notes];
  if (scores && scores.state !== "scored") said.unshift(scores.note || scores.state);
  if (evaluation && !scores) said.unshift(evaluation.extra.includes(one.name) ? "no reference" : "not in this evaluation");
  return said.join("; ");
}

function scoresOfCase(evaluation, name) {
  const scores = evaluation.cases[name];
  if (!scores) return make("p", { text: `${evaluation.name}: no scores` });
  const columns = [{ title: evaluation.name }, ...evaluation.regions.map((region) => ({ title: region, numeric: true }))];
  const rows = evaluation.metrics.map((metric, at) => ({
    cells: [{ text: metric.label, value: metric.label }, ...scores.values[at].map((value) => (
      { text: asText(value, metric.digits), value: asNumber(value) }))],
  }));
  return sortableTable(columns, rows, `Scores of ${name}`);
}

function startCaseTable(index, open) {
  const at = (id) => document.getElementById(id);
  const evaluations = index.evaluations;
  const known = [...new Map(evaluations.flatMap((one) => one.metrics.map((metric) => [metric.name, metric]))).values()];
  const chosen = new Set(known.map((metric) => metric.name).filter((name) => FIRST_COLUMNS.includes(name)));
  if (!chosen.size && known.length) chosen.add(known[0].name);
  const draw = () => {
    const evaluation = evaluations[at("evaluation").value || 0];
    at("case-table").replaceChildren(caseTable(index, evaluation, chosen, at("find").value.trim().toLowerCase(), open));
  };
  at("evaluation").append(...evaluations.map((one, number) => make("option", { value: String(number), text: one.name })));
  at("choose-evaluation").hidden = evaluations.length < 2;
  at("choose-metrics").hidden = known.length < 2;
  at("metrics").append(...known.map((metric) => {
    const box = make("input", { type: "checkbox", checked: chosen.has(metric.name) });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(metric.name);
      else chosen.delete(metric.name);
      draw();
    });
    return make("label", null, box, metric.label);
  }));
  at("evaluation").addEventListener("change", draw);
  at("find").addEventListener("input", draw);
  draw();
}

function fillRun(sections) {
  for (const section of sections) {
    const rows = section.rows.map(([name, value]) => make("tr", null,
      make("th", { scope: "row", text: name }),
      make("td", { text: value, class: /^[0-9a-f]{40,}$/.test(value) ? "hash" : "" })));
    const table = make("table", { class: "record" }, make("tbody", null, ...rows));
    const part = make("details", { open: section.title.includes("comnet_run") }, make("summary", { text: section.title }));
    part.append(make("div", { class: "scroll" }, table));
    document.getElementById("run").append(part);
  }
}

function fillScores(index) {
  const place = document.getElementById("scores");
  const scroll = (title, table) => [
    make("h3", { text: title }),
    make("div", { class: "scroll tall", tabIndex: 0, role: "region", "aria-label": title }, table),
  ];
  const scored = index.evaluations.filter((one) => one.metrics.length);
  if (scored.length) {
    const protocols = [...new Set(scored.map((one) => one.protocol))].join(", ");
    place.append(...scroll(`Mean \u00b1 standard deviation over cases (median); protocol: ${protocols}`, summaryTable(scored)));
  }
  for (const table of index.tables) {
    const cells = table.rows.map((row) => row.map(cellOfText));
    const numeric = table.header.map((_, at) => cells.some((row) => typeof row[at].value === "number"));
    const columns = table.header.map((title, at) => ({ title, numeric: numeric[at] }));
    place.append(...scroll(table.title, sortableTable(columns, cells.map((row) => ({ cells: row })), table.title)));
  }
  place.hidden = !scored.length && !index.tables.length;
}

function start() {
  const index = JSON.parse(document.getElementById("index").textContent);
  const looked = index.cases.filter((one) => one.number !== null).length;
  document.getElementById("lead").textContent =
    `${index.cases.length} cases, ${looked} to look through; ${index.orderedBy}.`;
  const figures = document.querySelectorAll("#figures figure").length > 0;
  document.getElementById("figures").hidden = !figures;
  document.getElementById("cases").hidden = document.getElementById("viewer").hidden = !index.cases.length;
  for (const link of document.querySelectorAll("nav a")) {
    link.hidden = document.getElementById(link.hash.slice(1)).hidden;
  }
  fillScores(index);
  fillRun(index.run);
  document.querySelector("#scores").hidden ||= !index.evaluations.length && !index.tables.length;
  let viewer = { open() {} };
  startCaseTable(index, (name) => viewer.open(name));
  viewer = startViewer(index);
}

start();
