// Plots: the pointer or the arrow keys show the values of each line, and the entries of the legend
// hide and show lines. The SVG's points are the data's own numbers.
for (const chart of document.querySelectorAll(".chart")) {
  const plot = chart.querySelector(".plot");
  const area = plot.querySelector(".area");
  const [from, to] = [Number(plot.dataset.from), Number(plot.dataset.to)];
  const drawn = [...plot.querySelectorAll("[data-name], [data-of]")];
  const nameOf = (line) => line.dataset.name ?? line.dataset.of;

  for (const entry of chart.querySelectorAll(".legend li")) {
    const name = entry.textContent;
    const button = element("button", { type: "button", textContent: name, ariaPressed: "true", title: "hide or show" });
    button.addEventListener("click", () => {
      const isOn = button.ariaPressed !== "true";
      button.ariaPressed = String(isOn);
      entry.classList.toggle("off", !isOn);
      for (const line of drawn) if (nameOf(line) === name) line.classList.toggle("off", !isOn);
    });
    entry.replaceChildren(button);
  }

  let series;
  const read = () =>
    drawn
      .filter((line) => line.dataset.name !== undefined)
      .map((line) => ({
        line,
        name: line.dataset.name,
        colour: [...line.classList].find((name) => /^c\d$/.test(name)) ?? "",
        points: (line.dataset.points ?? line.getAttribute("points")).split(" ").map((point) => point.split(",").map(Number)),
      }));
  const value = (y) => Number((plot.dataset.logarithmic === undefined ? y : 10 ** y).toPrecision(4));
  const nearest = (points, x) => points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
  const guide = element("div", { className: "guide" });
  const tip = element("div", { className: "tip", role: "status" });
  const hide = () => [guide, tip].forEach((part) => part.remove());
  const visible = () => (series ??= read()).filter((one) => !one.line.classList.contains("off"));
  let shown; // x of the values in the tip
  const show = (at) => {
    const found = visible().map((one) => ({ ...one, point: nearest(one.points, at) }));
    if (found.length === 0) return hide();
    const x = (shown = nearest(found.map((one) => one.point), at)[0]);
    // Lines without a point near the pointer are omitted.
    const near = found.filter((one) => Math.abs(one.point[0] - x) <= (to - from) / 40);
    const rows = near.map((one) => {
      const name = element("span", { className: `run ${one.colour}` }, one.name);
      return element("div", {}, name, element("span", {}, String(value(one.point[1]))));
    });
    tip.replaceChildren(element("div", {}, `${plot.dataset.x} ${x}`), ...rows);
    const share = ((x - from) / (to - from)) * 100;
    guide.style.left = `${share}%`;
    tip.style.left = share < 50 ? `calc(${share}% + 8px)` : "auto";
    tip.style.right = share < 50 ? "auto" : `calc(${100 - share}% + 8px)`;
    area.append(guide, tip);
  };
  const point = (event) => {
    const frame = area.getBoundingClientRect();
    show(from + ((event.clientX - frame.left) / frame.width) * (to - from));
  };
  area.addEventListener("pointermove", point);
  area.addEventListener("pointerdown", point);
  area.addEventListener("pointerleave", hide);

  // By keyboard: a step is to the next point of any visible line, at least a hundredth of the axis.
  area.tabIndex = 0;
  area.role = "group";
  area.ariaLabel = `${chart.querySelector("strong").textContent}: the arrow keys show the values`;
  const step = (sign) => {
    const xs = visible().flatMap((one) => one.points.map((point) => point[0]));
    const beyond = xs.filter((x) => sign * (x - shown) >= (to - from) / 100);
    return beyond.length === 0 ? shown : sign * Math.min(...beyond.map((x) => sign * x));
  };
  const keys = {
    ArrowLeft: () => show(step(-1)),
    ArrowRight: () => show(step(1)),
    Home: () => show(from),
    End: () => show(to),
    Escape: hide,
  };
  area.addEventListener("focus", () => area.matches(":focus-visible") && show(shown ?? from));
  area.addEventListener("blur", hide);
  area.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
}
