// Tables: column heads sort, the box above filters, long tables show their first rows until asked for more.
const FIRST_ROWS = 60;

/** The value a cell sorts by: its data-sort, else its text. */
const sortKey = (cell) => cell.dataset.sort ?? cell.textContent.trim();

/** Order two sort keys: empty ones last, numbers by size, text by the alphabet. */
function compareKeys(a, b, sign) {
  const isEmpty = (text) => text === "" || text === "–";
  if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
  const difference = Number(a) - Number(b);
  return sign * (Number.isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference);
}

/**
 * Turn the text of a filter into a test of a row. Words must occur in the row; `gain>5`, `lr<=1e-4` or `metric=loss`
 * compare the column whose head starts with that name (spaces in it left out).
 */
function readFilter(text, heads) {
  const tests = text.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const [, name, operator, value] = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/) ?? [];
    const column = name ? heads.findIndex((head) => head.startsWith(name)) : -1;
    if (column < 0) return (row, all) => all.includes(word);
    return (row) => {
      const cell = row.cells[column];
      if (operator === "=") return cell.textContent.trim().toLowerCase() === value;
      // What is shown (percent) is what is compared, not the sort value in the units of the table.
      const [a, b] = [Number(cell.textContent.replace("−", "-").replace(/[+,±]/g, "")), Number(value)];
      if (Number.isNaN(a) || cell.textContent.trim() === "") return false;
      return operator === "<" ? a < b : operator === ">" ? a > b : operator === "<=" ? a <= b : a >= b;
    };
  });
  return (row, all) => tests.every((test) => test(row, all));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const names = heads.map((head) => head.textContent.toLowerCase().replace(/\s+/g, ""));
  const rows = [...body.rows];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const tools = table.closest(".table").querySelector(".tools");
  const [input, count, more] = ["input", "[role=status]", ".more"].map((name) => tools?.querySelector(name));
  let shown = FIRST_ROWS;

  const show = () => {
    const passes = readFilter(input?.value ?? "", names);
    let found = 0;
    for (const row of body.rows) {
      const fits = passes(row, words.get(row));
      found += fits;
      row.hidden = !fits || found > shown;
    }
    if (count) count.textContent = found + " of " + rows.length + " rows";
    if (more) more.hidden = found <= shown;
    if (more) more.textContent = "Show all " + found + " rows";
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const keyed = [...body.rows].map((row) => [sortKey(row.cells[column]), row]);
      keyed.sort(([a], [b]) => compareKeys(a, b, up ? 1 : -1));
      body.append(...keyed.map(([, row]) => row));
      show();
    });
  });
  input?.addEventListener("input", show);
  more?.addEventListener("click", () => { shown = Infinity; show(); });
  show();
}
