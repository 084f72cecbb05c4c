"use strict";
(async function () {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  const slider = document.getElementById("alpha");
  const chooser = document.getElementById("model");
  const table = document.getElementById("table");
  const recommended = document.getElementById("recommended");

  const make = (name, text, attributes) => {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    return node;
  };
  const linesOf = (model) => data.lines.filter((line) => line.model === model);
  const alphasOf = (model) => {
    const all = linesOf(model).flatMap((line) => Object.keys(line.values[data.reference]));
    return [...new Set(all)].sort();
  };
  const count = (line) => line.models > 1 ? `, mean of ${line.models} models (${line.runs} runs)`
    : line.runs > 1 ? `, mean of ${line.runs} runs` : "";
  const short = (alpha) => String(Number(alpha));
  const signed = (number) => {
    const text = Math.abs(number).toFixed(1);
    return Number(text) === 0 ? "0.0" : (number < 0 ? "−" : "+") + text;
  };

  for (const model of [...new Set(data.lines.map((line) => line.model))]) {
    chooser.append(make("option", model, { value: model }));
  }
  chooser.value = data.start.model;
  let alphas = alphasOf(chooser.value);

  // The page's policy allows no code from text and no other styles: expressions are interpreted.
  const chart = await vegaEmbed("#chart", read("chart-spec"), {
    mode: "vega", renderer: "svg", actions: false, ast: true, defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  });

  function columns(lines) {
    // One column group a method: measured first, its published twin beside it.
    const pairs = [...new Set(lines.map((line) => line.pair))];
    return pairs.map((pair) => ({
      measured: lines.find((line) => line.pair === pair && line.source === "measured"),
      published: lines.find((line) => line.pair === pair && line.source === "published"),
    }));
  }

  function head(groups) {
    const top = make("tr"), below = make("tr");
    top.append(make("th", "dataset", { scope: "col", rowspan: 2, class: "left" }));
    for (const group of groups) {
      const line = group.measured || group.published;
      const both = group.measured && group.published;
      const cell = make("th", undefined, { scope: "colgroup", colspan: both ? 5 : 3, class: "group" });
      const swatch = make("span", undefined, { class: "swatch" });
      swatch.style.background = line.color;
      cell.append(swatch);
      cell.append(line.label + (both ? "" : ", " + line.source) + count(line));
      top.append(cell);
      const names = [both ? "measured (%)" : "accuracy (%)", "vs α = 0", "vs α = 1"];
      if (both) names.push("published (%)", "difference");
      for (const name of names) below.append(make("th", name, { scope: "col" }));
    }
    const section = make("thead");
    section.append(top, below);
    return section;
  }

  function accuracy(row, found) {
    const cell = make("td");
    if (found) {
      cell.append(found[0].toFixed(1));
      if (found[1] !== null) {
        cell.append(" ", make("span", `[${found[1].toFixed(1)}, ${found[2].toFixed(1)}]`, { class: "interval" }));
      }
    }
    row.append(cell);
  }

  function difference(row, found, base) {
    row.append(make("td", found && base ? signed(found[0] - base[0]) : ""));
  }

  function body(groups, alpha) {
    const section = make("tbody");
    for (const dataset of data.datasets) {
      const row = make("tr", undefined, { class: dataset.kind });
      row.append(make("th", dataset.title, { scope: "row" }));
      let known = false;
      for (const group of groups) {
        const line = group.measured || group.published;
        const values = line.values[dataset.name] || {};
        known = known || dataset.name in line.values;
        accuracy(row, values[alpha]);
        difference(row, values[alpha], values["0.000"]);
        difference(row, values[alpha], values["1.000"]);
        if (group.measured && group.published) {
          const twin = (group.published.values[dataset.name] || {})[alpha];
          accuracy(row, twin);
          difference(row, values[alpha], twin);
        }
      }
      if (known) section.append(row);
    }
    return section;
  }

  function show() {
    const alpha = alphas[Number(slider.value)], model = chooser.value;
    const groups = columns(linesOf(model));
    document.getElementById("alpha-text").textContent = short(alpha);
    const where = `α = ${short(alpha)}` + (chooser.length > 1 ? `, ${model}` : "");
    for (const id of ["table-alpha", "ringed"]) document.getElementById(id).textContent = where;
    slider.setAttribute("aria-valuetext", `alpha ${short(alpha)}`);
    // As many methods side by side as there is room for, the others below.
    for (let most = 5; most === 5 || (most && table.scrollWidth > table.clientWidth); most--) {
      table.replaceChildren();
      for (let at = 0; at < groups.length; at += most) {
        const shown = groups.slice(at, at + most), part = table.appendChild(make("table"));
        part.append(make("caption", `Accuracy in percent at ${where}`), head(shown), body(shown, alpha));
      }
    }
    document.getElementById("status").textContent = said(groups[0].measured || groups[0].published, alpha);
    chart.view.signal("alpha", Number(alpha)).signal("model", model).runAsync();
  }

  function said(line, alpha) {
    // The reference and what follows it, an average where there is one.
    const parts = data.datasets.filter((dataset) => (line.values[dataset.name] || {})[alpha]).slice(0, 2)
      .map((dataset) => `${dataset.title} ${line.values[dataset.name][alpha][0].toFixed(1)} %`);
    return parts.length ? `${line.label} at α = ${short(alpha)}: ${parts.join(", ")}.` : "";
  }

  function fit() {
    // Paper is narrower than a screen, but its print is finer: there the chart is scaled down instead.
    const room = matchMedia("print").matches ? data.columns
      : Math.floor(document.getElementById("chart").clientWidth / data.panel);
    const columns = Math.max(1, Math.min(data.columns, room));
    if (columns !== chart.view.signal("columns")) chart.view.signal("columns", columns).resize().runAsync();
    show();
  }

  function reset() {
    const before = alphas[Number(slider.value)] || data.start.alpha;
    alphas = alphasOf(chooser.value);
    slider.max = alphas.length - 1;
    slider.value = Math.max(0, alphas.indexOf(alphas.includes(before) ? before : data.start.alpha));
    recommend();
    show();
  }

  function recommend() {
    // What is recommended of the model's first method; each line has its own diamond.
    const chosen = linesOf(chooser.value)[0].recommended;
    recommended.hidden = chosen === null;
    recommended.value = alphas.findIndex((alpha) => Number(alpha) === chosen);
    recommended.textContent = `recommended: α = ${chosen}`;
  }

  function csv() {
    const rows = [["model", "method", "source", "dataset", "alpha", "percent", "ci_low", "ci_high"]];
    for (const line of data.lines) {
      for (const [dataset, values] of Object.entries(line.values)) {
        for (const [alpha, found] of Object.entries(values)) {
          rows.push([line.model, line.label, line.source, dataset, alpha, ...found.map((x) => (x === null ? "" : x))]);
        }
      }
    }
    return rows.map((row) => row.map((x) => (/[",\r\n]/.test(x) ? `"${x.replaceAll('"', '""')}"` : x)).join(",")).join("\n") + "\n";
  }

  slider.max = alphas.length - 1;
  slider.value = Math.max(0, alphas.indexOf(data.start.alpha));
  slider.addEventListener("input", show);
  chooser.addEventListener("change", reset);
  recommended.addEventListener("click", () => { slider.value = recommended.value; show(); });
  document.getElementById("half").addEventListener("click", () => {
    const half = alphas.indexOf("0.500");
    if (half >= 0) { slider.value = half; show(); }
  });
  document.getElementById("save").addEventListener("click", () => {
    const link = make("a", "", { download: data.experiment + "-page.csv" });
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.click();
    URL.revokeObjectURL(link.href);
  });
  for (const event of ["resize", "beforeprint", "afterprint"]) addEventListener(event, fit);
  recommend();
  fit();
  document.documentElement.dataset.ready = "yes";
})();
