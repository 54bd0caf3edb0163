const plot = document.querySelector("svg");
const show = (trial, on) => {
  for (const one of document.querySelectorAll(`[data-trial="${trial}"]`)) one.classList.toggle("on", on);
  plot?.classList.toggle("dim", on && !!plot.querySelector(`.line[data-trial="${trial}"]`));
};
for (const one of document.querySelectorAll("[data-trial]")) {
  for (const [event, on] of [["pointerenter", true], ["focus", true], ["pointerleave", false], ["blur", false]]) {
    one.addEventListener(event, () => show(one.dataset.trial, on));
  }
}
const body = document.querySelector("tbody");
const headings = [...document.querySelectorAll("th")];
headings.forEach((heading, column) => heading.addEventListener("click", () => {
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of headings) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  // What has no value stays behind what has one, whichever way it is sorted.
  const order = (a, b) => (a === "") - (b === "") || (up ? 1 : -1)
    * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
  body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
}));
