"use strict";
(() => {
  const { charts, mixing } = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg"; // a name, not an address
  const UNITS = 1000;

  const shown = (value) =>
    typeof value === "number" ? Number(value.toPrecision(5)).toLocaleString("en-US", { maximumFractionDigits: 9 }) : value ?? "–";

  function make(tag, text, parent, color) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (color) element.style.setProperty("--c", color);
    return parent.appendChild(element);
  }

  /* Where a value stands on an axis, from 0 to 1. */
  function share([low, high], log, value) {
    return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  }

  const nearest = (places, x) => places.reduce((best, place, at) => (Math.abs(place - x) < Math.abs(places[best] - x) ? at : best), 0);

  /* Every kind of chart says where it can be pointed at (`spots`, in shares of the plot) and what is said there. */
  const kinds = {
    lines(chart) {
      const all = [...new Set(chart.series.flatMap((line) => line.x ?? []))].sort((a, b) => a - b);
      const spots = all.map((x) => [share(chart.x, chart.log, x)]);
      return {
        spots,
        tell(at, tip) {
          make("b", `${chart.axis} ${shown(all[at])}`, tip);
          for (const line of chart.series) {
            const places = line.x ?? chart.series[0].x;
            let place = nearest(places, all[at]);
            if (line.stairs && places[place] > all[at]) place -= 1;
            if (place < 0 || (line.stairs ? false : places[place] !== all[at]) || line.y[place] == null) continue;
            make("span", `${line.name} ${shown(line.y[place])}`.trim(), tip, line.color);
          }
        },
      };
    },
    bars(chart) {
      const spots = chart.bars.map(([low, high]) => [share(chart.x, chart.log, (low + high) / 2)]);
      return {
        spots,
        tell(at, tip) {
          const [low, high, count] = chart.bars[at];
          make("b", `${shown(low)} to ${shown(high)}`, tip);
          make("span", shown(count), tip);
        },
      };
    },
    points(chart) {
      const spots = chart.places.map(([x, y]) => [x / UNITS, 1 - y / UNITS]);
      return {
        spots,
        tell(at, tip) {
          const [first, ...others] = chart.places[at][2].split("\n");
          make("b", first, tip);
          for (const line of others) make("span", line, tip);
        },
      };
    },
    heat(chart) {
      const wide = chart.columns.length;
      const spots = chart.values.flatMap((row, r) => row.map((_, c) => [(c + 0.5) / wide, (r + 0.5) / chart.rows.length]));
      return {
        spots,
        wide,
        tell(at, tip) {
          const [row, column] = [Math.floor(at / wide), at % wide];
          make("b", `${chart.rows[row]}, ${chart.columns[column]}`, tip);
          make("span", shown(chart.values[row][column]), tip);
        },
      };
    },
  };

  /* Pointing with a mouse or a finger, or with the arrow keys. */
  const drawn = {};
  for (const [id, chart] of Object.entries(charts)) {
    const box = $(id), plot = box.querySelector(".plot");
    const tip = make("div", "", box);
    tip.className = "tip";
    tip.hidden = true;
    tip.setAttribute("role", "status");
    const cursor = plot.appendChild(document.createElementNS(SVG, "line"));
    cursor.setAttribute("class", "cursor");
    let model = kinds[chart.kind](chart), current = -1;

    function show(at) {
      current = at;
      const spot = model.spots[at];
      tip.hidden = !spot;
      cursor.style.display = spot && chart.kind !== "heat" ? "" : "none";
      if (!spot) return;
      const [x, y = 0] = spot, outer = box.getBoundingClientRect(), inner = plot.getBoundingClientRect();
      tip.replaceChildren();
      model.tell(at, tip);
      for (const name of ["x1", "x2"]) cursor.setAttribute(name, `${100 * x}%`);
      cursor.setAttribute("y2", "100%");
      const left = inner.left - outer.left + x * inner.width, room = outer.width - tip.offsetWidth;
      tip.style.left = `${Math.max(0, Math.min(room, left + (left > outer.width / 2 ? -tip.offsetWidth - 12 : 12)))}px`;
      tip.style.top = `${inner.top - outer.top + Math.min(y, 0.85) * inner.height + (y ? 12 : 4)}px`;
    }

    function point(event) {
      const inner = plot.getBoundingClientRect();
      const x = (event.clientX - inner.left) / inner.width, y = (event.clientY - inner.top) / inner.height;
      let best = -1, least = chart.kind === "points" ? 30 : Infinity;
      if (x < -0.05 || x > 1.05 || y < -0.1 || y > 1.1) return show(-1);
      model.spots.forEach(([sx, sy = y], at) => {
        const far = Math.hypot((sx - x) * inner.width, (sy - y) * inner.height);
        if (far < least) [best, least] = [at, far];
      });
      show(best);
    }

    box.addEventListener("pointermove", point);
    box.addEventListener("pointerdown", point);
    box.addEventListener("pointerleave", () => show(-1));
    box.addEventListener("blur", () => show(-1));
    box.addEventListener("keydown", (event) => {
      const wide = model.wide ?? 1;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide }[event.key];
      if (event.key === "Escape") show(-1);
      if (step === undefined || event.target !== box) return;
      event.preventDefault();
      show(Math.max(0, Math.min(model.spots.length - 1, current < 0 ? 0 : current + step)));
    });
    drawn[id] = { box, plot, chart, renew: () => { model = kinds[chart.kind](chart); show(-1); } };
  }

  /* One slider for all choices and cells, one selected edge. */
  if (mixing) {
    const { axis, positions, choices, cells } = mixing;
    const [slider, told, play, select] = ["slider", "position", "play", "edge"].map($);
    const last = positions.length - 1;
    const frame = (choice, at) => choice.frames[at].map((row) => row.map((value) => (value === null ? null : value / UNITS)));
    const digits = (value) => (value === null ? "" : value >= 0 && value < 0.995 ? value.toFixed(2).replace(/^0/, "") : String(Number(value.toPrecision(2))));
    const lines = drawn["edge-lines"];

    function repaint(index, at) {
      const { chart, plot } = drawn[`mixing-${index}`], values = frame(choices[index], at);
      const paths = plot.querySelectorAll(".cells-of path:not(.frame)"), texts = plot.querySelectorAll("text.in");
      values.flat().forEach((value, cell) => {
        const level = value === null ? -1 : Math.min(15, Math.max(0, Math.floor((16 * (value - chart.low)) / (chart.high - chart.low || 1))));
        if (paths[cell]) paths[cell].setAttribute("class", `h${level}`);
        if (texts[cell]) {
          texts[cell].textContent = digits(value);
          texts[cell].setAttribute("class", level >= 8 ? "in light" : "in");
        }
      });
      chart.values = values;
    }

    function scrub() {
      const at = Number(slider.value);
      told.textContent = `${axis} ${positions[at]} of ${positions[last]}`;
      slider.setAttribute("aria-valuetext", told.textContent);
      choices.forEach((_, index) => repaint(index, at));
      for (const [name, frames] of Object.entries(cells)) {
        const box = $(name), template = $(`${name}-${frames[at]}`);
        if (box.dataset.shown !== String(frames[at])) box.replaceChildren(template.content.cloneNode(true));
        box.dataset.shown = frames[at];
      }
      for (const id of ["edge-lines", "entropy"]) {
        if (!drawn[id]) continue;
        const { chart, plot } = drawn[id], x = `${100 * share(chart.x, chart.log, positions[at])}%`;
        const mark = plot.querySelector(".mark") ?? plot.appendChild(document.createElementNS(SVG, "line"));
        for (const [key, value] of Object.entries({ class: "mark", x1: x, x2: x, y2: "100%" })) mark.setAttribute(key, value);
      }
    }

    function showEdge() {
      const [index, edge] = select.value.split(":").map(Number), choice = choices[index], { chart, plot, box } = lines;
      chart.series = choice.operations.map((name, operation) => ({
        name, color: choice.colors[operation], x: positions,
        y: choice.frames.map((each) => (each[edge][operation] === null ? null : each[edge][operation] / UNITS)),
      })).filter((line) => line.y.some((value) => value !== null));
      const inner = plot.querySelector("svg"), legend = box.querySelector(".legend");
      inner.replaceChildren();
      legend.replaceChildren();
      for (const line of chart.series) {
        const kept = choice.chosen.some(([e, o]) => e === edge && choice.operations[o] === line.name);
        const path = inner.appendChild(document.createElementNS(SVG, "path"));
        const places = line.y.map((value, at) => [share(chart.x, chart.log, positions[at]), value]).filter(([, value]) => value !== null);
        path.setAttribute("class", "line");
        path.setAttribute("d", places.map(([x, y], at) => `${at ? "L" : "M"}${Math.round(UNITS * x)} ${Math.round(UNITS * (1 - share(chart.y, chart.upward_log, y)))}`).join(""));
        path.style.stroke = line.color;
        path.style.strokeWidth = kept ? 4 : 1.8;
        make("li", line.name, legend, line.color).className = "dash";
      }
      lines.renew();
    }

    let timer = null;
    function pause() {
      clearInterval(timer);
      timer = null;
      play.classList.remove("playing");
    }
    function start() {
      if (Number(slider.value) === last) slider.value = 0;
      play.classList.add("playing");
      timer = setInterval(() => {
        slider.value = Number(slider.value) + 1;
        scrub();
        if (Number(slider.value) === last) pause();
      }, Math.max(60, 6000 / (last + 1)));
    }

    play.addEventListener("click", () => (timer ? pause() : start()));
    slider.addEventListener("input", () => { pause(); scrub(); });
    if (lines) {
      select.addEventListener("change", showEdge);
      choices.forEach((choice, index) => {
        const { plot } = drawn[`mixing-${index}`];
        plot.addEventListener("click", (event) => {
          const inner = plot.getBoundingClientRect();
          const row = Math.floor(((event.clientY - inner.top) / inner.height) * choice.frames[0].length);
          if (row < 0 || row >= choice.frames[0].length) return;
          select.value = `${index}:${row}`;
          showEdge();
        });
      });
      showEdge();
    }
    scrub();
  }

  for (const button of document.querySelectorAll("[data-copies]")) {
    button.addEventListener("click", async () => {
      const source = $(button.dataset.copies);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 1400);
      } catch { // no permission: leave the text selected
        getSelection().selectAllChildren(source);
      }
    });
  }
})();
