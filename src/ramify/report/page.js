"use strict";
(() => {
  const { figures, mixing, dark } = JSON.parse(document.getElementById("data").textContent);
  const darkness = matchMedia("screen and (prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches;
  const $ = (id) => document.getElementById(id);

  /* Figures come in the colors of the light theme; a dark screen sees the partner of each. */
  function draw(id) {
    let text = JSON.stringify(figures[id]);
    if (darkness.matches) text = text.replace(/#[0-9a-f]{6}\b/g, (color) => dark[color] ?? color);
    const { data, layout } = JSON.parse(text);
    layout.uirevision = id; // a zoom outlives the slider
    if (coarse) layout.dragmode = false; // a finger scrolls the page
    const config = {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [["toImage", "resetScale2d"]],
      toImageButtonOptions: { format: "svg", filename: id },
    };
    return Plotly.react($(id), data, layout, config);
  }
  const drawAll = () => Object.keys(figures).forEach(draw);
  drawAll();
  darkness.addEventListener("change", drawAll);

  /* One slider for all choices, one selected edge. */
  if (mixing) {
    const { axis, positions, choices } = mixing;
    const [slider, shown, play, select] = ["slider", "position", "play", "edge"].map($);
    const last = positions.length - 1;

    function scrub() {
      const at = Number(slider.value);
      shown.textContent = `${axis} ${positions[at]} of ${positions[last]}`;
      slider.setAttribute("aria-valuetext", shown.textContent);
      choices.forEach((choice, index) => {
        figures[`mixing-${index}`].data[0].z = choice.frames[at];
        draw(`mixing-${index}`);
      });
      const x = positions[at];
      // the color is one of the figures' own, so that it follows the theme
      const line = { type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1, line: { color: "#5e6874", width: 1, dash: "dot" } };
      for (const id of ["edge-lines", "entropy"]) {
        if (!figures[id]) continue;
        figures[id].layout.shapes = [line];
        draw(id);
      }
    }

    function showEdge() {
      const [index, edge] = select.value.split(":").map(Number);
      const choice = choices[index];
      figures["edge-lines"].data = choice.operations.map((name, operation) => ({
        ...figures["edge-lines"].data[0],
        name,
        y: choice.frames.map((frame) => frame[edge][operation]),
        line: { color: choice.colors[operation], width: choice.chosen.some(([e, o]) => e === edge && o === operation) ? 4 : 1.8 },
      })).filter((trace) => trace.y.some((value) => value !== null));
      draw("edge-lines");
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
    select.addEventListener("change", showEdge);
    choices.forEach((choice, index) => {
      $(`mixing-${index}`).on("plotly_click", ({ points: [point] }) => {
        select.value = `${index}:${point.pointNumber[0]}`;
        showEdge();
      });
    });
    showEdge();
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
