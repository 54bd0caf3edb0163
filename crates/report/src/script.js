"use strict";

// Tables: a click on a header sorts by its column, numbers in descending order. A second click
// reverses the order. Rows without a value in the column stay last.
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const header = button.parentElement;
    const column = header.cellIndex;
    const body = header.closest("table").tBodies[0];
    const key = (row) => {
      const cell = row.cells[column];
      if (!cell || cell.colSpan > 1) return undefined;
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    const numbers = [...body.rows].some((row) => typeof key(row) === "number");
    const first = numbers ? "descending" : "ascending";
    const second = numbers ? "ascending" : "descending";
    const order = header.ariaSort === first ? second : first;
    for (const other of header.parentElement.cells) other.ariaSort = null;
    header.ariaSort = order;
    const sign = order === "ascending" ? 1 : -1;
    const wanted = numbers ? "number" : "string";
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      const [hasX, hasY] = [typeof x === wanted, typeof y === wanted];
      if (!hasX || !hasY) return hasY - hasX;
      return sign * (numbers ? x - y : x.localeCompare(y));
    };
    body.append(...[...body.rows].sort(compare));
  });
}

// Plots: the pointer shows the value of each line. The SVG's points are the data's own numbers.
for (const plot of document.querySelectorAll(".plot")) {
  const area = plot.querySelector(".area");
  const from = Number(plot.dataset.from);
  const to = Number(plot.dataset.to);
  let series;
  const read = () =>
    [...plot.querySelectorAll("[data-name]")].map((drawn) => ({
      name: drawn.dataset.name,
      colour: [...drawn.classList].find((name) => /^c\d$/.test(name)) ?? "",
      points: (drawn.dataset.points ?? drawn.getAttribute("points")).split(" ").map((point) => point.split(",").map(Number)),
    }));
  const value = (y) => Number((plot.dataset.logarithmic === undefined ? y : 10 ** y).toPrecision(4));
  const nearest = (points, x) => points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
  const part = (name, ...children) => {
    const element = document.createElement(name);
    element.append(...children);
    return element;
  };
  const guide = part("div");
  guide.className = "guide";
  const tip = part("div");
  tip.className = "tip";
  const hide = () => {
    guide.remove();
    tip.remove();
  };
  const show = (event) => {
    series ??= read();
    const frame = area.getBoundingClientRect();
    const at = from + ((event.clientX - frame.left) / frame.width) * (to - from);
    const found = series.map((one) => ({ ...one, point: nearest(one.points, at) }));
    if (found.length === 0) return;
    const x = nearest(found.map((one) => one.point), at)[0];
    // Lines without a point near the pointer are omitted.
    const near = found.filter((one) => Math.abs(one.point[0] - x) <= (to - from) / 40);
    const rows = near.map((one) => {
      const name = part("span", one.name);
      name.className = `run ${one.colour}`;
      return part("div", name, part("span", String(value(one.point[1]))));
    });
    tip.replaceChildren(part("div", `${plot.dataset.x} ${x}`), ...rows);
    const share = ((x - from) / (to - from)) * 100;
    guide.style.left = `${share}%`;
    tip.style.left = share < 50 ? `calc(${share}% + 8px)` : "auto";
    tip.style.right = share < 50 ? "auto" : `calc(${100 - share}% + 8px)`;
    area.append(guide, tip);
  };
  area.addEventListener("pointermove", show);
  area.addEventListener("pointerdown", show);
  area.addEventListener("pointerleave", hide);
}
