"use strict";
(function () {
  const all = JSON.parse(document.getElementById("charts").textContent);
  const small = window.matchMedia("(max-width: 640px)").matches;
  const config = { responsive: true, displaylogo: false, displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const names = { params: "parameters", macs: "multiply-adds for one picture", memory_bytes: "inference memory (bytes)",
    latency_ms: "latency of one picture (ms)",
    ece: "expected calibration error", nll: "log-loss (nats)" };

  function layout(extra) {
    const axis = { gridcolor: "#eceff2", zeroline: false, linecolor: "#b9c2cb", ticks: "outside", tickcolor: "#b9c2cb", automargin: true };
    const base = {
      font: { family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", size: small ? 12 : 13, color: "#1c2733" },
      margin: { l: 8, r: small ? 8 : 16, t: 12, b: 8 }, paper_bgcolor: "#fff", plot_bgcolor: "#fff",
      hoverlabel: { bgcolor: "#fff", bordercolor: "#b9c2cb", font: { color: "#1c2733" }, align: "left" },
      legend: { orientation: "h", y: small ? -0.3 : -0.24, yanchor: "top", x: 0 }, dragmode: small ? false : "zoom", hovermode: "closest",
      xaxis: axis, yaxis: Object.assign({}, axis, { tickformat: ".0%" }),
    };
    for (const key of Object.keys(extra)) {
      base[key] = (key === "xaxis" || key === "yaxis") ? Object.assign({}, base[key], extra[key]) : extra[key];
    }
    return base;
  }

  function draw(name, traces, extra) {
    const place = document.getElementById("chart-" + name);
    if (place) Plotly.react(place, traces, layout(extra), config);
  }

  function teacherLine(value) {
    return value === null ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value,
      line: { color: "#b00020", width: 1, dash: "dash" }, layer: "below" }];
  }

  function teacherLabel(value) {
    return value === null ? [] : [{ xref: "paper", x: 0, y: value, yanchor: "bottom", xanchor: "left", showarrow: false,
      text: "teacher " + (100 * value).toFixed(1) + " %", font: { color: "#b00020", size: 12 } }];
  }

  function percentTicks(low, high) {
    return high - low < 0.06 ? ".1%" : ".0%";
  }

  function front(axis) {
    if (axis === "3d") return cube();
    const chart = all.front;
    const traces = chart.traces.filter(t => !t.axis || t.axis === axis).map(function (t) {
      const trace = Object.assign({}, t);
      const many = t.y.length > 3000;
      trace.type = many ? "scattergl" : "scatter";
      if (t.xs) trace.x = t.xs[axis];
      return trace;
    });
    let high = 0, low = chart.low;
    traces.forEach(t => t.y.forEach((v, i) => { high = Math.max(high, v + ((t.error_y && t.error_y.array[i]) || 0)); }));
    draw("front", traces, {
      xaxis: { type: "log", title: { text: names[axis] }, dtick: small ? 1 : "D2", exponentformat: "SI", minor: { ticks: "outside", ticklen: 3, tickcolor: "#d5dae0" } },
      yaxis: { title: { text: small ? "" : "validation accuracy" }, range: low === null ? undefined : [low, high + 0.1 * (high - low) + 0.001],
        tickformat: percentTicks(low === null ? 0 : low, high) },
      shapes: teacherLine(chart.teacher), annotations: teacherLabel(chart.teacher),
    });
  }

  function cube() {
    const chart = all.front, axes = Object.keys(chart.axes), x = axes[0], y = axes.includes("memory_bytes") ? "memory_bytes" : axes[1];
    const solid = { "star": "diamond", "star-open": "diamond-open", "triangle-up-open": "cross", "diamond-tall-open": "diamond-open" };
    const traces = chart.traces.filter(t => t.xs).map(function (t) {
      const marker = Object.assign({}, t.marker, { size: Math.max(2.5, 0.5 * t.marker.size) });
      if (marker.symbol) marker.symbol = solid[marker.symbol] || marker.symbol;
      if (marker.line) marker.line = { color: marker.line.color, width: 1 };
      return { type: "scatter3d", mode: "markers", name: t.name, legendgroup: t.legendgroup, showlegend: t.showlegend,
        x: t.xs[x], y: t.xs[y], z: t.y, customdata: t.customdata, text: t.text, marker: marker,
        hovertemplate: (t.customdata ? "student %{customdata}" : "%{text}") + "<br>%{z:.2%}<br>%{x:,}, %{y:,}<extra></extra>" };
    });
    const short = { params: "parameters", macs: "multiply-adds", memory_bytes: "memory (bytes)", latency_ms: "latency (ms)", ece: "calibration error", nll: "log-loss" };
    const log = name => ({ type: "log", title: { text: short[name] }, exponentformat: "SI", dtick: 1 });
    draw("front", traces, { scene: { xaxis: log(x), yaxis: log(y), zaxis: { title: { text: "accuracy" }, tickformat: ".0%" },
      aspectmode: "manual", aspectratio: { x: 1.4, y: 1.4, z: 0.9 },
      camera: { eye: { x: 1.5, y: -1.5, z: 0.7 }, center: { x: 0, y: 0, z: -0.15 } } },
      dragmode: "turntable", legend: { orientation: "h", y: -0.02, yanchor: "top", x: 0 }, margin: { l: 0, r: 0, t: 0, b: 0 } });
  }

  function volume(axis) {
    const traces = all.volume.traces.map(t => Object.assign({}, t, { x: t.xs[axis] }));
    draw("volume", traces, { showlegend: false, xaxis: { title: { text: all.volume.axes[axis] } },
      yaxis: { title: { text: small ? "" : "share of the final front" }, range: [0, 1.05] } });
  }

  function effects() {
    document.getElementById("chart-effects").style.height = (90 + 22 * all.effects.rows) + "px";
    draw("effects", all.effects.traces, { showlegend: false,
      xaxis: { title: { text: "points at equal size" }, tickformat: "+.2~f", zeroline: true, zerolinecolor: "#8a8f98" },
      yaxis: { autorange: "reversed", tickformat: "", type: "category", tickfont: { size: small ? 10 : 12 } } });
  }

  function curves() {
    const chart = all.curves;
    draw("curves", chart.traces, {
      xaxis: { type: "log", title: { text: "epochs trained" }, tickvals: chart.epochs, ticktext: chart.epochs.map(String) },
      yaxis: { title: { text: small ? "" : "validation accuracy" } },
      shapes: teacherLine(chart.teacher), annotations: teacherLabel(chart.teacher), showlegend: chart.traces.length < 14,
    });
  }

  front(Object.keys(all.front.axes)[0]);
  curves();
  const values = all.methods.traces.flatMap(t => t.y);
  const ends = values.reduce((found, v) => [Math.min(found[0], v), Math.max(found[1], v)], [1, 0]);
  draw("methods", all.methods.traces, { showlegend: false,
    yaxis: { title: { text: small ? "" : "validation accuracy" }, tickformat: percentTicks(ends[0], ends[1]) } });
  const charts = { front: front, volume: volume };
  if (all.volume) {
    volume("students");
  } else {
    document.querySelectorAll('#chart-volume, button[data-chart="volume"]').forEach(e => e.remove());
  }
  if (all.effects) effects();
  document.querySelectorAll("button[data-chart]").forEach(function (button) {
    button.addEventListener("click", function () {
      button.parentElement.querySelectorAll("button").forEach(b => b.setAttribute("aria-pressed", String(b === button)));
      charts[button.dataset.chart](button.dataset.axis);
    });
  });
})();
