"use strict";
// Columns of the tables sort on a click: numbers by size, the largest first; other texts by the alphabet; again: the other way
// round; a third time: as they came. Without a script the tables stand as they came.
for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0], came = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    const text = head.classList.contains("text");
    button.addEventListener("click", () => {
      const steps = text ? ["ascending", "descending", "none"] : ["descending", "ascending", "none"];
      const next = steps[(steps.indexOf(head.getAttribute("aria-sort") ?? "none") + 1) % 3];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      const sign = next === "ascending" ? 1 : -1;
      const key = (row) => text ? row.cells[at].textContent : parseFloat(row.cells[at].textContent);
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return x < y ? -sign : x > y ? sign : 0;
      };
      if (next !== "none") head.setAttribute("aria-sort", next);
      body.append(...(next === "none" ? came : [...came].sort(order)));
    });
  });
}
