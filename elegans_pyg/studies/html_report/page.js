"use strict";
(async () => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  function bytes(text) {
    const letters = atob(text), found = new Uint8Array(letters.length);
    for (let at = 0; at < letters.length; at += 1) found[at] = letters.charCodeAt(at);
    return found;
  }
  const unpacked = (text) => new Response(new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip")));
  const script = document.createElement("script");
  script.textContent = await unpacked(byId("library").textContent).text();
  document.head.append(script);

  // Plotly interprets a few HTML tags in its texts.
  const safe = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Map();

  function lighter(value) {
    if (typeof value === "string" && /^#[0-9a-f]{6}([0-9a-f]{2})?$/i.test(value)) {
      const part = (at) => Math.round(parseInt(value.slice(at, at + 2), 16) * 0.62 + 97).toString(16).padStart(2, "0");
      return "#" + part(1) + part(3) + part(5) + value.slice(7);
    }
    if (Array.isArray(value)) return value.map(lighter);
    // A colour scale already uses the page's own colours.
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, own]) => [key, key === "colorscale" ? own : lighter(own)]));
    return value;
  }

  function draw(element, chart) {
    if (chart) drawn.set(element, chart);
    const known = drawn.get(element), { data: traces, layout } = typeof known === "function" ? known() : known;
    const axis = { gridcolor: colour("--rule"), linecolor: colour("--muted"), zerolinecolor: colour("--rule"), automargin: true };
    const looks = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 60, r: 20, t: 20, b: 50 },
      font: { color: colour("--ink"), family: "system-ui, sans-serif", size: 13 },
      hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--muted"), font: { color: colour("--ink") } },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, ...layout,
    };
    for (const name of ["xaxis", "yaxis"]) looks[name] = { ...axis, ...looks[name] };
    const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
    return Plotly.react(element, dark.matches ? traces.map(lighter) : traces, looks, options);
  }

  // A new task, so that what is drawn can be seen and used while the rest is drawn.
  const pause = () => new Promise((done) => setTimeout(done));

  const again = () => drawn.forEach((_, element) => draw(element));
  dark.addEventListener("change", again);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((own) => { own.open = true; }));

  // The checkboxes hide a family in all charts of the run, the legend in one chart.
  for (const section of document.querySelectorAll(".charts")) {
    const charts = [...section.querySelectorAll(".chart")];
    for (const element of charts) drawn.set(element, data.charts[element.id]);
    section.addEventListener("change", () => {
      const shown = new Set([...section.querySelectorAll(".family:checked")].map((box) => safe(box.value)));
      const each = section.querySelector(".each:checked") !== null;
      for (const element of charts) {
        const chart = drawn.get(element);
        chart.data.forEach((trace) => { trace.visible = shown.has(trace.legendgroup) && (trace.meta !== "runs" || each); });
        draw(element);
      }
    });
    for (const element of charts) {
      await draw(element);
      await pause();
    }
  }

  // Shortest path from any start to any goal, as a list of nodes.
  function path(starts, next, goals) {
    const from = new Map(starts.map((node) => [node, -1]));
    for (const node of from.keys()) {
      if (goals.has(node)) {
        const way = [];
        for (let at = node; at !== -1; at = from.get(at)) way.unshift(at);
        return way;
      }
      for (const after of next[node]) if (!from.has(after)) from.set(after, node);
    }
    return null;
  }

  for (const section of document.querySelectorAll(".wiring")) {
    const graphs = data.wirings[section.dataset.run];
    const [form, which, search] = [".controls", ".which", ".search"].map((name) => section.querySelector(name));
    const [element, told] = [section.querySelector(".graph"), section.querySelector(".told")];
    const hint = told.textContent;
    let graph, next, chosen;

    const lines = (edges, look) => ({
      x: edges.flatMap(([a, b]) => [graph.x[a], graph.x[b], null]), y: edges.flatMap(([a, b]) => [graph.y[a], graph.y[b], null]),
      mode: "lines", hoverinfo: "skip", line: look, showlegend: look.name !== undefined, name: look.name,
    });

    function show(node) {
      chosen = node;
      const edges = graph.source.map((source, at) => [source, graph.target[at]]);
      const faint = edges.length > 20000 ? [] : edges;
      const traces = [lines(faint, { color: "#8a8f98" + (edges.length > 4000 ? "1c" : "30"), width: 0.7 })];
      if (node !== null) {
        traces.push(lines(edges.filter(([, target]) => target === node), { color: "#0072b2", width: 1.4, name: "incoming" }));
        traces.push(lines(edges.filter(([source]) => source === node), { color: "#d55e00", width: 1.4, name: "outgoing" }));
        const before = path(graph.inputs, next, new Set([node])), after = path([node], next, new Set(graph.outputs));
        const way = before && after ? [...before, ...after.slice(1)] : before || after || [];
        traces.push(lines(way.slice(1).map((own, at) => [way[at], own]), { color: "#009e73", width: 4, name: "shortest path" }));
        const kind = `${data.types[graph.type[node]].name}, ${graph.level[node] < 0 ? "no input reaches it" : graph.word + " " + graph.level[node]}`;
        const names = way.map((own) => graph.name[own]).join(" → ");
        const through = before && after ? "shortest path from an input to an output" : before ? "shortest path from an input; no path to an output" : "no path from an input";
        told.textContent = `${graph.name[node]}: ${kind}, ${graph.into[node]} in, ${graph.out[node]} out; ${through}${names ? ": " + names : ""}.`;
      } else told.textContent = hint + (faint.length < edges.length ? ` Edges are drawn for a chosen neuron only, since there are ${edges.length.toLocaleString("en")}.` : "");
      const most = Math.max(1, ...graph.out.map((out, at) => out + graph.into[at]));
      data.types.forEach((type, number) => {
        const own = graph.type.flatMap((each, at) => (each === number ? [at] : []));
        if (!own.length) return;
        const text = own.map((at) => `<b>${safe(graph.name[at])}</b><br>${type.name}, ${graph.word} ${graph.level[at] < 0 ? "none" : graph.level[at]}<br>${graph.into[at]} in, ${graph.out[at]} out`);
        traces.push({
          x: own.map((at) => graph.x[at]), y: own.map((at) => graph.y[at]), customdata: own, text, name: `${type.name} (${own.length})`, mode: "markers", hovertemplate: "%{text}<extra></extra>",
          marker: { opacity: 1, color: type.colour, size: own.map((at) => (at === node ? 20 : 6 + 12 * (graph.into[at] + graph.out[at]) / most)), line: { width: own.map((at) => (at === node ? 3 : 0.5)), color: own.map((at) => (at === node ? "#d7191c" : "#ffffff")) } },
        });
      });
      const bare = { automargin: false, showgrid: false, zeroline: false, showticklabels: false, showline: false };
      draw(element, { data: traces, layout: { xaxis: { ...bare, title: { text: `${graph.word} →` } }, yaxis: { ...bare, range: [-0.03, 1.03] }, hovermode: "closest", margin: { l: 10, r: 10, t: 20, b: 40 }, uirevision: which.value } });
    }

    function load() {
      graph = graphs[which.value];
      next = graph.name.map(() => []);
      graph.source.forEach((source, at) => next[source].push(graph.target[at]));
      const options = graph.name.map((name) => Object.assign(document.createElement("option"), { value: name }));
      section.querySelector("datalist").replaceChildren(...options);
      find();
    }

    function find() {
      const wanted = search.value.trim().toLowerCase();
      const found = graph.name.findIndex((name) => name.toLowerCase() === wanted);
      show(found < 0 ? null : found);
      if (found < 0 && wanted) told.textContent = `There is no neuron ${search.value}.`;
    }

    which.addEventListener("change", load);
    form.addEventListener("reset", () => { search.value = ""; show(null); });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      find();
    });
    load();
    element.on("plotly_click", ({ points: [point] }) => {
      if (point.customdata === undefined) return;
      search.value = graph.name[point.customdata];
      show(point.customdata);
    });
    await pause();
  }

  for (const section of document.querySelectorAll(".images")) {
    const own = data.images[section.dataset.run];
    const [unit, told] = [section.querySelector(".unit"), section.querySelector(".told")];
    const size = own.classes.length, [high, wide] = own.side;
    const counts = new Uint16Array(await unpacked(own.counts).arrayBuffer());
    const sheet = Object.assign(new Image(), { src: own.sheet });
    await sheet.decode();

    function show() {
      const number = Number(unit.value), cells = counts.subarray(number * size * size, (number + 1) * size * size);
      const z = own.classes.map((_, row) => [...cells.subarray(row * size, (row + 1) * size)]);
      const total = cells.reduce((sum, count) => sum + count, 0), right = z.reduce((sum, row, at) => sum + row[at], 0);
      told.textContent = total ? `${right.toLocaleString("en")} of ${total.toLocaleString("en")} correct, ${(100 * right / total).toFixed(2)} %.` : "The training of this unit was stopped, so it has no predictions.";
      const labels = own.classes.map(safe), shares = z.map((row) => row.map((count) => count / Math.max(1, row.reduce((sum, each) => sum + each, 0))));
      const title = (text) => ({ title: { text }, type: "category", showgrid: false });
      const trace = () => ({ type: "heatmap", z: shares.map((row) => row.map(Math.sqrt)), x: labels, y: labels, customdata: z, text: z, texttemplate: size > 20 ? "" : "%{text}", zmin: 0, zmax: 1, showscale: false, colorscale: [[0, colour("--raised")], [1, colour("--accent")]], xgap: 1, ygap: 1, hovertemplate: "true %{y}, predicted %{x}: %{customdata}<extra></extra>" });
      const layout = { xaxis: title("predicted"), yaxis: { ...title("true"), autorange: "reversed" }, margin: { l: 70, r: 10, t: 40, b: 50 } };
      draw(section.querySelector(".confusion"), () => ({ data: [trace()], layout }));
      own.examples[number].forEach((examples, kind) => {
        const figures = examples.map(([image, read]) => {
          const canvas = Object.assign(document.createElement("canvas"), { width: wide, height: high });
          canvas.getContext("2d").drawImage(sheet, (image % own.columns) * wide, Math.floor(image / own.columns) * high, wide, high, 0, 0, wide, high);
          const [truth, guess] = [own.classes[own.labels[image]], own.classes[read]];
          canvas.setAttribute("role", "img");
          canvas.setAttribute("aria-label", `true ${truth}, predicted ${guess}`);
          const caption = Object.assign(document.createElement("figcaption"), { textContent: kind ? `${truth} ✗ ${guess}` : `${truth} ✓` });
          const figure = document.createElement("figure");
          figure.append(canvas, caption);
          return figure;
        });
        section.querySelectorAll(".examples")[kind].replaceChildren(...figures);
      });
    }
    unit.addEventListener("change", show);
    show();
  }
  document.body.dataset.ready = "yes";
})();
