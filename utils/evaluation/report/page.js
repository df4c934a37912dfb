"use strict";
(() => {
  // A click on the head of a column sorts its table: numbers the highest first, texts from A to Z, then the other way.
  const value = (row, column) => row.cells[column].innerText.trim();
  const number = (text) => Number.parseFloat(text.replaceAll(",", ""));
  for (const head of document.querySelectorAll("table.sortable thead th")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const body = head.closest("table").tBodies[0];
      const rows = [...body.rows];
      const column = head.cellIndex;
      const numeric = column > 0 && rows.some((row) => !Number.isNaN(number(value(row, column))));
      const first = numeric ? "descending" : "ascending";
      const other = numeric ? "ascending" : "descending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      const sign = order === "ascending" ? 1 : -1;
      const compare = (a, b) => {
        const [one, two] = [value(a, column), value(b, column)];
        if (!numeric) return sign * one.localeCompare(two);
        const missing = Number.isNaN(number(one)) - Number.isNaN(number(two)); // they stay below
        return missing || sign * (number(one) - number(two));
      };
      for (const each of head.parentElement.cells) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      body.append(...rows.sort(compare));
    });
  }
})();
(() => {
  const list = document.getElementById("images");
  if (!list) return;

  const byId = (id) => document.getElementById(id);
  const cards = [...list.children];
  const ious = new Map(cards.map((card) => [card, JSON.parse(card.dataset.ious)]));
  const select = byId("class");
  const large = byId("large");
  let current = null;

  const shown = () => [...list.children].filter((card) => !card.hidden);

  // Of a class, its images by the IoU of that class; else all in the order of the page.
  function filter() {
    const label = select.value;
    for (const card of cards) card.hidden = label !== "" && !(label in ious.get(card));
    const order = cards.filter((card) => !card.hidden);
    if (label !== "") order.sort((a, b) => ious.get(a)[label] - ious.get(b)[label]);
    list.append(...order);
    const all = `${cards.length} image${cards.length === 1 ? "" : "s"}`;
    byId("count").textContent = label === "" ? all : `${order.length} of ${all}, lowest IoU of this class first`;
  }

  function show(card) {
    current = card;
    const among = shown();
    const place = among.indexOf(card);
    byId("large-title").textContent = card.querySelector("bdi").textContent;
    byId("place").textContent = `${place + 1} of ${among.length}; ${card.querySelector(".head p").textContent}`;
    byId("previous").disabled = place === 0;
    byId("next").disabled = place === among.length - 1;
    byId("large-body").replaceChildren(
      ...[".pictures", ".labels"].map((part) => card.querySelector(part).cloneNode(true)),
    );
    byId("large-body").append(document.querySelector(".legend").cloneNode(true));
    if (!large.open) large.showModal();
    if (!large.querySelector(":focus:enabled")) byId("close").focus();
    large.scrollTop = 0;
  }

  function step(by) {
    const among = shown();
    const card = among[among.indexOf(current) + by];
    if (card) show(card);
  }

  list.addEventListener("click", (event) => {
    if (event.target.closest(".open, .pictures")) show(event.target.closest(".card"));
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", () => large.close());
  large.addEventListener("click", (event) => {
    if (event.target === large) large.close(); // beside it
  });
  document.addEventListener("keydown", (event) => {
    if (!large.open) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  large.addEventListener("close", () => {
    current.querySelector(".open").focus();
    byId("large-body").replaceChildren();
  });
  select.addEventListener("change", filter);
  document.querySelector(".choice").hidden = false;
})();
