// The page as a whole: tables chosen by checkpoint, the cells behind a number, and what printing needs.
for (const select of document.querySelectorAll("select[data-for]")) {
  const choices = document.getElementById(select.dataset.for).children;
  const show = () => [...choices].forEach((choice, i) => choice.classList.toggle("chosen", i === Number(select.value)));
  select.addEventListener("change", show);
  show();
}

for (const cell of document.querySelectorAll("[data-runs]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "cells";
  button.title = "the cells behind this row";
  button.append(...cell.childNodes);
  cell.append(button);
  button.addEventListener("click", () => {
    const heads = [...cell.closest("tr").cells].slice(0, 4).map((other) => other.textContent.trim());
    openCells(cell.dataset.runs, heads.filter((text) => text && text !== "–").join(", "));
  });
}

// Methods are folded on the screen and open on paper.
const folded = document.querySelectorAll("details.how");
window.addEventListener("beforeprint", () => folded.forEach((details) => { details.open = true; }));
window.addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));
