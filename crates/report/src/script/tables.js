// Makes an element with attributes and children.
const element = (name, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
};

// Copies a text and says so on the button.
const copies = (button, text) => {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Copying is not allowed here";
    }
    setTimeout(() => (button.textContent = label), 2000);
  });
  return button;
};

// Tables: a click on a header sorts by its column, numbers in descending order. A second click
// reverses the order. Rows without a value in the column stay last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  for (const header of headers) {
    const column = header.cellIndex;
    const key = (row) => {
      const cell = row.cells[column];
      if (!cell || cell.colSpan > 1) return undefined;
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    header.querySelector("button").addEventListener("click", () => {
      const numbers = [...body.rows].some((row) => typeof key(row) === "number");
      const [first, second] = numbers ? ["descending", "ascending"] : ["ascending", "descending"];
      const order = header.ariaSort === first ? second : first;
      for (const other of headers) other.ariaSort = null;
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

  // The text of a cell, without the interval below a number.
  const text = (cell) => {
    const copy = cell.cloneNode(true);
    for (const small of copy.querySelectorAll("small")) small.remove();
    for (const tag of copy.querySelectorAll(".tag")) tag.prepend(", ");
    return copy.textContent.trim();
  };
  const csv = () => {
    const quoted = (field) => (/[",\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);
    const hasInterval = headers.map((_, at) => [...body.rows].some((row) => row.cells[at]?.dataset.low !== undefined));
    const head = headers.flatMap((header, at) => {
      const name = text(header);
      return hasInterval[at] ? [name, `${name} low`, `${name} high`] : [name];
    });
    const fields = (row) =>
      [...row.cells].flatMap((cell, at) => {
        const value = cell.dataset.value ?? text(cell);
        return hasInterval[at] ? [value, cell.dataset.low ?? "", cell.dataset.high ?? ""] : [value];
      });
    return [head, ...[...body.rows].map(fields)].map((line) => `${line.map(quoted).join(",")}\n`).join("");
  };
  const latex = () => {
    const escaped = (field) => field.replace(/[#$%&_{}]/g, "\\$&").replaceAll("→", "$\\rightarrow$").replaceAll("–", "--");
    const shown = (cell) => (cell.classList.contains("best") ? `\\textbf{${escaped(text(cell))}}` : escaped(text(cell)));
    const lines = [...body.rows].map((row) => `${[...row.cells].map(shown).join(" & ")} \\\\`);
    const head = `${headers.map((header) => escaped(text(header))).join(" & ")} \\\\`;
    const columns = `l${"r".repeat(headers.length - 1)}`;
    return [`\\begin{tabular}{${columns}}`, "\\toprule", head, "\\midrule", ...lines, "\\bottomrule", "\\end{tabular}", ""].join("\n");
  };
  const button = (textContent) => element("button", { type: "button", textContent });
  const tools = element("div", { className: "tools" });

  // On a phone, one column is shown beside the first.
  if (headers.length > 3) {
    const select = element("select", {}, ...headers.slice(1).map((header) => element("option", {}, text(header))));
    const show = () => {
      const column = select.selectedIndex + 1;
      for (const row of table.rows)
        for (const cell of row.cells) cell.classList.toggle("shown", cell.cellIndex === column || cell.colSpan > 1);
    };
    const preferred = headers.findIndex((header) => ["CIDEr", "BLEU-4"].includes(text(header)));
    select.selectedIndex = Math.max(preferred, 1) - 1;
    select.addEventListener("change", show);
    show();
    table.classList.add("chosen-column");
    tools.append(element("label", { className: "chooser" }, "Show ", select));
  }
  tools.append(copies(button("Copy as CSV"), csv), copies(button("Copy as LaTeX"), latex));
  table.parentElement.before(tools);
}

// Commands can be copied.
for (const command of document.querySelectorAll("pre.command")) {
  const button = element("button", { type: "button", textContent: "Copy" });
  command.after(copies(button, () => command.textContent.trim()));
}
