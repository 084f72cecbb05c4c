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
  const views = await Promise.all(read("chart-specs").map(async (spec, place) => {
    const made = await vegaEmbed(place ? "#chart" : "#lead", spec, {
      mode: "vega", renderer: "svg", actions: false, ast: true, defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
    });
    return made.view;
  }));
  const points = read("chart-specs")[0].data.find((each) => each.name === "points").values;
  const BESIDE = 66, LEAST = 232, GAP = 24, REACH = 72, CLEAR = 6; // pixels

  function findPlaces(width, height) {
    // Where the names of the first curve's points lie on nothing that is drawn: pixels from the point.
    const model = chooser.value, here = points.filter((point) => point.model === model);
    const view = (views[0].signal("views")[model] || {})[0];
    if (!view) return {};
    const at = (x, y) => [(x - view.x.ends[0]) / (view.x.ends[1] - view.x.ends[0]) * width,
      (view.y.ends[1] - y) / (view.y.ends[1] - view.y.ends[0]) * height];
    const taken = [];
    const draw = (from, to) => {
      const steps = Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / 4) || 1;
      for (let k = 0; k <= steps; k++) taken.push([0, 1].map((i) => from[i] + (to[i] - from[i]) * k / steps));
    };
    for (const line of new Set(here.map((point) => point.line))) {
      const curve = here.filter((point) => point.line === line).sort((a, b) => a.alpha - b.alpha);
      curve.forEach((point, k) => draw(at(point.x, point.y), at(curve[k && k - 1].x, curve[k && k - 1].y)));
    }
    const diagonal = [view.x.ends, view.y.ends].flat();
    draw(at(Math.min(...diagonal), Math.min(...diagonal)), at(Math.max(...diagonal), Math.max(...diagonal)));
    const pen = document.createElement("canvas").getContext("2d"), found = {};
    pen.font = "600 13px system-ui, sans-serif";
    for (const point of here.filter((each) => each.name)) {
      const [x, y] = at(point.x, point.y), half = [pen.measureText(point.name).width / 2 + 2, 9];
      let best = [-Infinity, 0];
      for (let dx = -REACH; dx <= REACH; dx += 4) {
        for (let dy = -REACH; dy <= REACH; dy += 4) {
          const out = x + dx < half[0] || x + dx > width - half[0] || y + dy < half[1] || y + dy > height - half[1];
          const room = Math.min(...taken.map((t) => Math.max(Math.abs(t[0] - x - dx) - half[0], Math.abs(t[1] - y - dy) - half[1])));
          const away = Math.hypot(Math.max(0, Math.abs(dx) - half[0]), Math.max(0, Math.abs(dy) - half[1]));
          const rank = [-1000 * out + 100 * Math.min(room, CLEAR), -away];
          if (rank[0] > best[0] || (rank[0] === best[0] && rank[1] > best[1])) {
            best = rank;
            found[point.name] = [dx, dy];
          }
        }
      }
      const [dx, dy] = found[point.name];
      for (const row of [-8, 0, 8]) draw([x + dx - half[0], y + dy + row], [x + dx + half[0], y + dy + row]);
    }
    return found;
  }

  function key(lines) {
    // Colours of the methods, and what the marks mean; HTML, which goes on in another line.
    const list = document.getElementById("key");
    list.replaceChildren();
    const labels = new Map(lines.map((line) => [line.label, line.color]));
    if (labels.size > 1) for (const [label, color] of labels) list.append(swatched("li", label, color));
    const marks = [["■", "α = 0, zero-shot"], ["▲", "α = 1, fine-tuned"], ["○", "α of the slider"]];
    if (lines.some((line) => line.recommended !== null)) marks.splice(2, 0, ["◆", "recommended α"]);
    if (new Set(lines.map((line) => line.source)).size > 1) marks.push(["━", "measured here"], ["┅", "published"]);
    for (const [mark, text] of marks) {
      const item = list.appendChild(make("li"));
      item.append(make("span", mark, { class: "mark", "aria-hidden": "true" }), text);
    }
  }

  function swatched(name, text, color, attributes) {
    const node = make(name, undefined, attributes), swatch = make("span", undefined, { class: "swatch" });
    swatch.style.background = color;
    node.append(swatch, text);
    return node;
  }

  function columns(lines, apart) {
    // One column group a method: measured first, its published twin beside it, or below where there is no room.
    if (apart) return lines.map((line) => ({ [line.source]: line }));
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
      const text = line.label + (both ? "" : ", " + line.source) + count(line);
      top.append(swatched("th", text, line.color, { scope: "colgroup", colspan: both ? 5 : 3, class: "group" }));
      const names = [both ? "measured (%)" : "accuracy (%)", "vs α\u00a0=\u00a00", "vs α\u00a0=\u00a01"];
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
      if (found.length > 3 && found[3] !== null) {
        cell.append(make("span", `new [${found[3].toFixed(1)}, ${found[4].toFixed(1)}]`, { class: "interval" }));
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
    const lines = linesOf(model), narrow = () => table.scrollWidth > table.clientWidth;
    document.getElementById("alpha-text").textContent = short(alpha);
    const where = `α = ${short(alpha)}` + (chooser.length > 1 ? `, ${model}` : "");
    for (const node of document.querySelectorAll(".ringed")) node.textContent = where;
    slider.setAttribute("aria-valuetext", `alpha ${short(alpha)}`);
    // As many methods side by side as there is room for, the others below.
    for (let most = 5; most === 5 || (most >= 0 && narrow()); most--) {
      table.replaceChildren();
      const groups = columns(lines, most === 0), across = Math.max(most, 1);
      for (let at = 0; at < groups.length; at += across) {
        const shown = groups.slice(at, at + across), part = table.appendChild(make("table"));
        part.append(make("caption", `Accuracy in percent at ${where}`), head(shown), body(shown, alpha));
      }
    }
    document.getElementById("status").textContent = said(lines[0], alpha);
    for (const view of views) view.signal("alpha", Number(alpha)).signal("model", model).runAsync();
  }

  function said(line, alpha) {
    // The reference and what follows it, an average where there is one.
    const parts = data.datasets.filter((dataset) => (line.values[dataset.name] || {})[alpha]).slice(0, 2)
      .map((dataset) => `${dataset.title} ${line.values[dataset.name][alpha][0].toFixed(1)} %`);
    return parts.length ? `${line.label} at α = ${short(alpha)}: ${parts.join(", ")}.` : "";
  }

  function fit() {
    // Paper is narrower than a screen, but its print is finer: there the charts are scaled down instead.
    const print = matchMedia("print").matches, room = print ? 1000 : document.getElementById("lead").clientWidth;
    if (room <= BESIDE) return; // not laid out yet
    const width = room - BESIDE, height = Math.round(Math.max(230, Math.min(430, 0.56 * width)));
    views[0].width(width).height(height).signal("places", findPlaces(width, height)).resize();
    if (views[1]) {
      const most = Math.floor((room + GAP) / (LEAST + BESIDE + GAP));
      const columns = Math.max(1, Math.min(data.columns, most));
      const each = Math.floor((room - GAP * (columns - 1)) / columns) - BESIDE;
      views[1].signal("columns", columns).signal("childWidth", each)
        .signal("childHeight", Math.round(Math.min(260, 0.8 * each))).resize();
    }
    show();
  }

  function reset() {
    const before = alphas[Number(slider.value)] || data.start.alpha;
    alphas = alphasOf(chooser.value);
    slider.max = alphas.length - 1;
    slider.value = Math.max(0, alphas.indexOf(alphas.includes(before) ? before : data.start.alpha));
    recommend();
    key(linesOf(chooser.value));
    fit();
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
  key(linesOf(chooser.value));
  fit();
  document.documentElement.dataset.ready = "yes";
})();
