// Cards: a click on a picture opens everything about it.
{
  const dialog = element("dialog", { className: "everything", ariaLabel: "Everything about a picture" });
  const close = element("button", { type: "button", textContent: "Close" });
  close.addEventListener("click", () => dialog.close());
  // The backdrop is the dialog itself.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  for (const card of document.querySelectorAll(".card")) {
    const picture = card.querySelector("svg.picture");
    if (!picture) continue;
    const button = element("button", { type: "button", className: "open", ariaLabel: `Everything about: ${picture.getAttribute("aria-label")}` });
    picture.replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => {
      const copy = card.cloneNode(true);
      copy.querySelector(".open").replaceWith(picture.cloneNode(true));
      for (const details of copy.querySelectorAll("details")) details.open = true;
      dialog.replaceChildren(close, copy);
      dialog.showModal();
    });
  }
}

// A long list of cards: a few at first, chosen and ordered by the form above it.
for (const cards of document.querySelectorAll(".cards.many")) {
  const STEP = 12;
  const all = [...cards.children].map((card, order) => ({
    card,
    order,
    words: [...card.querySelectorAll(".caption p, li")].map((part) => part.textContent.toLowerCase()).join("\n"),
    mean: Number(card.dataset.mean ?? 0),
    spread: Number(card.dataset.spread ?? 0),
  }));
  const more = element("button", { type: "button", className: "more" });
  cards.after(more);
  const form = cards.parentElement.querySelector(".filters");
  // The lists named after a number of the cards choose its highest or lowest fifth.
  const fifths = [...(form?.querySelectorAll("select:not([name=order])") ?? [])].map((select) => {
    const key = select.name;
    const values = all.map((one) => one[key]).sort((a, b) => a - b);
    const size = Math.max(1, Math.floor(values.length / 5));
    const [low, high] = [values[size - 1], values.at(-size)];
    select.options[1].append(` (${high.toFixed(2)} or more)`);
    select.options[2].append(` (${low.toFixed(2)} or less)`);
    return (one) => select.value === "" || (select.value === "high" ? one[key] >= high : one[key] <= low);
  });
  let limit = STEP;
  const show = () => {
    const word = form?.word.value.trim().toLowerCase() ?? "";
    const order = form?.order.value ?? "";
    const by = order.replace("-", "");
    const sign = order.startsWith("-") ? 1 : -1;
    const found = all.filter((one) => one.words.includes(word) && fifths.every((fits) => fits(one)));
    found.sort((a, b) => (by ? sign * (a[by] - b[by]) : 0) || a.order - b.order);
    const shown = found.slice(0, limit);
    cards.replaceChildren(...shown.map((one) => one.card));
    more.hidden = shown.length === found.length;
    more.textContent = `Show ${Math.min(STEP, found.length - shown.length)} more of ${found.length}`;
    if (form) form.querySelector("output").textContent = `${found.length} of ${all.length} pictures`;
  };
  more.addEventListener("click", () => {
    const next = limit;
    limit += STEP;
    show();
    cards.children[next]?.querySelector("button")?.focus();
  });
  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    const again = () => {
      limit = STEP;
      show();
    };
    form.addEventListener("input", again);
    form.addEventListener("change", again);
  }
  show();
}

// Pairs of runs: two choices in place of a list of all pairs.
for (const pairs of document.querySelectorAll(".pairs")) {
  const all = [...pairs.children];
  const names = [...new Set(all.flatMap((pair) => [pair.dataset.a, pair.dataset.b]))];
  const [a, b] = [0, 1].map((chosen) => {
    const select = element("select", {}, ...names.map((name) => element("option", {}, name)));
    select.selectedIndex = chosen;
    return select;
  });
  const none = element("p", { className: "note" }, "These two were not tested against each other.");
  const show = () => {
    const chosen = [a.value, b.value];
    for (const pair of all) {
      pair.open = chosen.includes(pair.dataset.a) && chosen.includes(pair.dataset.b) && a.value !== b.value;
      pair.hidden = !pair.open;
    }
    none.hidden = all.some((pair) => pair.open);
  };
  for (const select of [a, b]) select.addEventListener("change", show);
  show();
  pairs.before(element("div", { className: "filters" }, element("label", {}, "Run ", a), element("label", {}, "against ", b)));
  pairs.append(none);
}
