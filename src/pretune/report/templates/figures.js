// Figures: values on hovering and by the arrow keys, series to switch off, and pictures to save.
const tip = document.getElementById("tip");
const REACH = 48; // pixels from the pointer to a mark that still counts

/** Show the text of a point beside it; the first line is its heading. */
function showTip(point) {
  const [head, ...lines] = point.text.split("\n");
  const strong = document.createElement("b");
  strong.textContent = head;
  tip.replaceChildren(strong, document.createElement("br"), lines.join("\n"));
  if (point.runs) tip.append("\n" + (point.runs.split(" ").length === 1 ? "1 cell" : point.runs.split(" ").length + " cells") + " – click or press Enter");
  tip.hidden = false;
  const box = point.node.getBoundingClientRect();
  const left = Math.min(box.right + 10, document.documentElement.clientWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 10;
  tip.style.left = Math.max(8, left) + "px";
  tip.style.top = (above > 4 ? above : box.bottom + 10) + "px";
}

for (const figure of document.querySelectorAll("figure.chart")) {
  const svg = figure.querySelector("svg");
  const traced = DATA.figures[figure.dataset.name] ?? {};
  const points = [...svg.querySelectorAll(".point")].map((node) => {
    const series = node.closest(".series");
    const title = node.querySelector("title");
    const text = title.textContent;
    title.remove(); // else the browser shows a second box
    return { node, series, text, runs: traced[series.dataset.series + "." + node.dataset.point] };
  });
  let current = null;

  const visible = () => points.filter((point) => point.node.getClientRects().length > 0);
  const choose = (point) => {
    current?.node.classList.remove("current");
    current = point;
    if (!point) { tip.hidden = true; return; }
    point.node.classList.add("current");
    showTip(point);
  };
  const middle = (point) => {
    const box = (point.node.querySelector(".mark, .cell") ?? point.node).getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const nearest = (x, y) => {
    let best = null;
    let least = REACH;
    for (const point of visible()) {
      const [a, b] = middle(point);
      const distance = Math.hypot(a - x, b - y);
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  };
  svg.addEventListener("pointermove", (event) => {
    const point = nearest(event.clientX, event.clientY);
    if (point !== current) choose(point);
    svg.classList.toggle("traceable", Boolean(point?.runs));
  });
  svg.addEventListener("pointerleave", () => choose(null));
  svg.addEventListener("click", (event) => {
    const point = nearest(event.clientX, event.clientY);
    if (point?.runs) openCells(point.runs, point.text);
  });

  // The arrow keys walk over the marks of a focused figure: sideways along a series, up and down between series.
  svg.setAttribute("tabindex", "0");
  svg.addEventListener("blur", () => choose(null));
  svg.addEventListener("keydown", (event) => {
    const all = visible();
    if (event.key === "Escape") choose(null);
    if (event.key === "Enter" && current?.runs) openCells(current.runs, current.text);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 2, ArrowUp: -2 }[event.key];
    if (!step || !all.length) return;
    event.preventDefault();
    if (!current || !all.includes(current)) { choose(all[0]); return; }
    if (Math.abs(step) === 1) {
      choose(all[(all.indexOf(current) + step + all.length) % all.length]);
      return;
    }
    const series = [...new Set(all.map((point) => point.series))];
    const next = series[(series.indexOf(current.series) + step / 2 + series.length) % series.length];
    const [x] = middle(current);
    const away = (point) => Math.abs(middle(point)[0] - x);
    choose(all.filter((point) => point.series === next).reduce((a, b) => (away(b) < away(a) ? b : a)));
  });

  for (const button of figure.querySelectorAll("button[data-series]")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      svg.querySelector(`.series[data-series="${button.dataset.series}"]`).classList.toggle("off", !on);
    });
  }

  figure.querySelector("button[data-png]")?.addEventListener("click", () => savePicture(svg, figure.dataset.name));
}

// The key above the figures switches a kind of mark on and off in all of them.
for (const button of document.querySelectorAll("button[data-kind]")) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const same of document.querySelectorAll(`button[data-kind="${button.dataset.kind}"]`)) {
      same.setAttribute("aria-pressed", String(on));
    }
    document.documentElement.classList.toggle("no-" + button.dataset.kind, !on);
  });
}

/** Save a figure as it is now as PNG, at three pixels to the unit, without any server. */
function savePicture(svg, name) {
  const copy = svg.cloneNode(true);
  const { width, height } = svg.viewBox.baseVal;
  const style = document.createElementNS("http://www.w3.org/2000/svg", "style");
  style.textContent = document.querySelector("style").textContent;
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [key, value] of [["class", "ground"], ["width", "100%"], ["height", "100%"]]) ground.setAttribute(key, value);
  copy.prepend(style, ground);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width * 3);
  copy.setAttribute("height", height * 3);
  copy.setAttribute("class", svg.getAttribute("class") + " " + document.documentElement.className);
  const image = new Image();
  image.addEventListener("load", () => {
    const canvas = document.createElement("canvas");
    canvas.width = width * 3;
    canvas.height = height * 3;
    canvas.getContext("2d").drawImage(image, 0, 0);
    canvas.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name + ".png";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  });
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(copy));
}
