// The cells behind a number: run ids, what each was a run of, and its configuration.
document.documentElement.classList.add("js");
const DATA = JSON.parse(document.getElementById("data").textContent);
const dialog = document.getElementById("cells");

/** The value of a column for a run, as text; empty when unknown. */
function factOf(name, run) {
  const { values, codes } = DATA.columns[name];
  const value = codes[run] < 0 ? "" : values[codes[run]];
  return typeof value === "number" && value !== 0 && Math.abs(value) < 1e-2 ? value.toExponential() : String(value);
}

/** List runs (numbers separated by spaces) in the dialog, with the columns that say anything about them. */
function openCells(runs, caption) {
  const numbers = runs.split(" ").map(Number);
  const names = Object.keys(DATA.columns).filter((name) => numbers.some((run) => factOf(name, run) !== ""));
  const make = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  const table = document.createElement("table");
  table.createTHead().insertRow().append(make("th", "cell"), ...names.map((name) => make("th", name.replaceAll("_", " "))));
  const body = table.createTBody();
  for (const run of numbers) {
    const id = DATA.ids[run];
    const head = document.createElement("th");
    if (DATA.path) {
      const link = make("a", id);
      link.href = DATA.path + encodeURIComponent(id) + "/config.yaml";
      head.append(link);
    } else {
      head.append(make("code", id));
    }
    body.insertRow().append(head, ...names.map((name) => make("td", factOf(name, run) || "–")));
  }
  dialog.querySelector("h2").textContent = caption.split("\n")[0];
  dialog.querySelector("p").textContent = caption.split("\n").slice(1).join(" · ");
  dialog.querySelector(".scroll").replaceChildren(table);
  dialog.showModal();
}
dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
