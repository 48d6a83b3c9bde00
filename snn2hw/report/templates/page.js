"use strict";
// Without this script everything is there to be read; with it, tables sort and can be saved, and
// one sample is shown at a time.
(function () {
  function value(cell) {
    return "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
  }

  // What is not known comes last, whichever way numbers are sorted.
  function compare(a, b, numbers, down) {
    const [x, y] = [parseFloat(a), parseFloat(b)];
    if (numbers && isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
    const order = numbers && !isNaN(x) ? x - y : a.localeCompare(b, "en", { numeric: true });
    return down ? -order : order;
  }

  // On a telephone each row is a card, in which a cell stands below the title of its column.
  function cards(table) {
    const titles = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, i) => { cell.dataset.label = titles[i]; });
    }
    table.dataset.cards = "";
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const numbers = head.classList.contains("n");
        const rows = [...body.rows].sort((a, b) =>
          compare(value(a.cells[column]), value(b.cells[column]), numbers, down));
        body.append(...rows);
      });
    });
  }

  // A spreadsheet would take a name that begins with one of these for a formula.
  function field(text) {
    const safe = /^[=+\-@\t\r]/.test(text) && isNaN(Number(text)) ? "'" + text : text;
    return '"' + safe.replaceAll('"', '""') + '"';
  }

  function csv(table) {
    const head = [...table.tHead.rows[0].cells].map((cell) => field(cell.textContent.trim()));
    const rows = [...table.tBodies[0].rows].map((row) =>
      [...row.cells].map((cell) => field(value(cell))).join(","));
    return [head.join(","), ...rows].join("\r\n") + "\r\n";
  }

  function savable(table) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "csv";
    button.textContent = "CSV";
    button.setAttribute("aria-label", "Save as CSV: " + table.caption.textContent);
    button.addEventListener("click", function () {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
      link.download = table.dataset.name + ".csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    table.caption.append(button);
  }

  function choosable(box) {
    const samples = [...box.querySelectorAll(".sample")];
    const select = box.querySelector("select");
    function show() {
      samples.forEach((sample, i) => { sample.hidden = String(i) !== select.value; });
    }
    select.addEventListener("change", show);
    show();
  }

  for (const table of document.querySelectorAll("table[data-name]")) {
    if (!("plain" in table.dataset)) {
      cards(table);
      sortable(table);
    }
    savable(table);
  }
  document.querySelectorAll("[data-samples]").forEach(choosable);

  // What is folded is printed too; browsers that know ::details-content do so without this.
  addEventListener("beforeprint", function () {
    for (const box of document.querySelectorAll("details:not([open])")) {
      box.open = true;
      box.dataset.folded = "";
    }
  });
  addEventListener("afterprint", function () {
    for (const box of document.querySelectorAll("details[data-folded]")) {
      box.open = false;
      delete box.dataset.folded;
    }
  });
})();
