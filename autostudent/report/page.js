"use strict";
(function () {
  const all = JSON.parse(document.getElementById("charts").textContent);
  const small = window.matchMedia("(max-width: 640px)").matches;
  const config = { responsive: true, displaylogo: false, displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const names = { params: "parameters", macs: "multiply-adds for one picture", memory_bytes: "inference memory (bytes)" };

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
    const chart = all.front;
    const traces = chart.traces.filter(t => !t.axis || t.axis === axis).map(function (t) {
      const trace = Object.assign({}, t);
      const many = t.y.length > 3000;
      trace.type = many ? "scattergl" : "scatter";
      if (t.xs) trace.x = t.xs[axis];
      return trace;
    });
    let high = 0, low = chart.low;
    traces.forEach(t => t.y.forEach((v, i) => { if (v + ((t.error_y && t.error_y.array[i]) || 0) > high) high = v; }));
    draw("front", traces, {
      xaxis: { type: "log", title: { text: names[axis] }, dtick: small ? 1 : "D2", exponentformat: "SI", minor: { ticks: "outside", ticklen: 3, tickcolor: "#d5dae0" } },
      yaxis: { title: { text: small ? "" : "validation accuracy" }, range: low === null ? undefined : [low, high + 0.1 * (high - low) + 0.001],
        tickformat: percentTicks(low === null ? 0 : low, high) },
      shapes: teacherLine(chart.teacher), annotations: teacherLabel(chart.teacher),
    });
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
  draw("methods", all.methods.traces, { showlegend: false, yaxis: { title: { text: small ? "" : "validation accuracy" } } });
  if (all.volume) {
    draw("volume", all.volume.traces, { showlegend: false, xaxis: { title: { text: "students trained to the end" } },
      yaxis: { title: { text: small ? "" : "share of the final front" }, range: [0, 1.05] } });
  } else {
    const place = document.getElementById("chart-volume");
    if (place) place.remove();
  }
  document.querySelectorAll("button[data-axis]").forEach(function (button) {
    button.addEventListener("click", function () {
      document.querySelectorAll("button[data-axis]").forEach(b => b.setAttribute("aria-pressed", String(b === button)));
      front(button.dataset.axis);
    });
  });
})();
