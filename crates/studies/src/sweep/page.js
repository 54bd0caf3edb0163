"use strict";

// A line of the plot and its row of the table show each other.
{
  const plot = document.querySelector(".parallel");
  const parts = new Map();
  for (const named of document.querySelectorAll("[data-trial]")) {
    const part = named.closest("tr") ?? named;
    const trial = named.dataset.trial;
    parts.set(trial, [...(parts.get(trial) ?? []), part]);
    const show = (on) => () => {
      for (const one of parts.get(trial)) one.classList.toggle("on", on);
      plot?.classList.toggle("dim", on && plot.querySelector(".line.on") !== null);
    };
    if (part.tagName === "TR") part.tabIndex = 0;
    for (const event of ["pointerenter", "focus"]) part.addEventListener(event, show(true));
    for (const event of ["pointerleave", "blur"]) part.addEventListener(event, show(false));
  }
}

// A link to a trial opens it.
{
  const open = () => {
    const trial = location.hash && document.querySelector(location.hash);
    if (trial?.tagName === "DETAILS") trial.open = true;
  };
  addEventListener("hashchange", open);
  open();
}
