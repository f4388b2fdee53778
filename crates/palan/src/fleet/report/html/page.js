"use strict";
(() => {
  const table = document.querySelector("table.images");
  const form = document.querySelector("form.controls");
  if (!table || !form) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  const filter = () => {
    const text = form.elements.text.value.trim().toLowerCase();
    const state = form.elements.state.value;
    const wave = form.elements.wave.value;
    let shown = 0;
    for (const row of rows) {
      const fits = texts.get(row).includes(text) && (!state || row.dataset.state === state) && (!wave || row.dataset.wave === wave);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    form.querySelector("output").value = shown === rows.length ? "" : `${shown} of ${rows.length}`;
  };

  const key = (row, column, kind) => {
    const cell = row.cells[column];
    if (kind === "number") return Number(cell.dataset.sort);
    return (cell.querySelector("summary") || cell).textContent;
  };

  const sort = (head, column) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const order = (a, b) => {
      const [x, y] = [key(a, column, head.dataset.kind), key(b, column, head.dataset.kind)];
      return typeof x === "number" ? x - y : x.localeCompare(y);
    };
    const sorted = [...rows].sort((a, b) => (down ? order(b, a) : order(a, b)));
    body.append(...sorted);
  };

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sort(head, column));
    head.replaceChildren(button);
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
})();
