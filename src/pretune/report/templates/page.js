"use strict";
document.documentElement.classList.add("js");
for (const select of document.querySelectorAll("select[data-for]")) {
  const choices = document.getElementById(select.dataset.for).children;
  const show = () => [...choices].forEach((choice, i) => choice.classList.toggle("chosen", i === Number(select.value)));
  select.addEventListener("change", show);
  show();
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
      const isEmpty = (text) => text === "" || text === "–";
      const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
        const numeric = Number(a) - Number(b);
        return (up ? 1 : -1) * (Number.isNaN(numeric) ? a.localeCompare(b, "en") : numeric);
      });
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}
for (const input of document.querySelectorAll("input[data-filter]")) {
  const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows];
  const words = rows.map((row) => row.textContent.toLowerCase());
  const count = document.getElementById(input.dataset.filter + "-count");
  const show = () => {
    const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !wanted.every((word) => words[i].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = shown + " of " + rows.length + " rows";
  };
  input.addEventListener("input", show);
  show();
}
