// The page: a picture goes to /v1/caption with what is chosen, and what comes back is shown.

const $ = (id) => document.getElementById(id);
const STRATEGIES = { greedy: "greedy", beam: "beam search", sampling: "sampling" };
/** What a strategy starts from where the run is configured to another one. */
const STARTS = { beam: { num_beams: 5 }, sampling: { num_return_sequences: 5, temperature: 1, top_k: 50, top_p: 1, seed: 42 } };
const WHOLE = ["num_beams", "num_return_sequences", "top_k", "seed", "max_new_tokens"];

let picture = null;
let served = null;
let asking = null;

/** Says what is wrong; without words, that nothing is. */
function fail(title, text) {
  $("error").replaceChildren();
  if (!text) return;
  const strong = document.createElement("strong");
  strong.textContent = title;
  $("error").append(strong, text[0].toUpperCase() + text.slice(1));
}

// Runs and how they decode

function addRun(run) {
  const part = $("run").content.cloneNode(true);
  const element = part.querySelector(".run");
  const field = (key) => element.querySelector(`[data-key=${key}]`);
  element.dataset.name = run.name;
  element.querySelector(".name").textContent = run.name;
  element.querySelector(".system").textContent = run.system;
  element.querySelector(".learned").textContent = run.learned_from ? `learned from ${run.learned_from}` : "";
  field("kind").append(...run.strategies.map((kind) => new Option(STRATEGIES[kind], kind)));
  const { max_new_tokens, strategy } = run.decoding;
  field("max_new_tokens").max = run.most_tokens;
  for (const key of ["num_beams", "num_return_sequences"]) field(key).max = run.most_captions;
  const values = { ...STARTS.beam, ...STARTS.sampling, ...strategy, max_new_tokens };
  for (const [key, value] of Object.entries(values)) field(key).value = value;
  for (const kind of ["input", "change"]) element.addEventListener(kind, () => summarise(element));
  summarise(element);
  $("runs").append(part);
}

function summarise(element) {
  const { max_new_tokens, strategy } = decodingOf(element);
  for (const label of element.querySelectorAll("[data-kind]")) {
    label.hidden = label.dataset.kind !== strategy.kind;
    // What is not shown need not be right.
    label.querySelector("input").disabled = label.hidden;
  }
  const count = strategy.num_beams ?? strategy.num_return_sequences;
  element.querySelector(".summary").textContent =
    [count && `${count} ×`, STRATEGIES[strategy.kind]].filter(Boolean).join(" ") + `, up to ${max_new_tokens} tokens`;
}

function decodingOf(element) {
  const value = (key) => {
    const input = element.querySelector(`[data-key=${key}]`);
    return WHOLE.includes(key) ? Math.trunc(input.valueAsNumber) : input.valueAsNumber;
  };
  const kind = element.querySelector("[data-key=kind]").value;
  const keys = Object.keys(STARTS[kind] ?? {});
  const strategy = Object.fromEntries([["kind", kind], ...keys.map((key) => [key, value(key)])]);
  return { max_new_tokens: value("max_new_tokens"), strategy };
}

const chosenRuns = () =>
  [...document.querySelectorAll(".run")].filter((run) => run.querySelector("[name=run]").checked);

// The picture

function take(file) {
  if (!file) return;
  fail();
  if (served && file.size > served.bytes) {
    const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    return fail("This picture is too large.", `It has ${mebibytes(file.size)}; at most ${mebibytes(served.bytes)} are taken.`);
  }
  picture = file;
  URL.revokeObjectURL($("preview").src);
  $("preview").src = URL.createObjectURL(file);
  $("preview").hidden = false;
  $("preview").alt = `Your picture, ${file.name}`;
  $("invite").hidden = true;
  $("drop").classList.add("filled");
  $("name").textContent = `${file.name} · choose, drop or paste another one`;
  $("name").hidden = false;
  $("submit").disabled = !served;
  if (served) ask();
}

$("preview").addEventListener("error", () => {
  $("preview").hidden = true;
  $("invite").hidden = false;
});
$("file").addEventListener("change", () => take($("file").files[0]));
addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}

// Captions

async function ask() {
  const runs = chosenRuns();
  if (!runs.length) return fail("No run is chosen.", "Choose one or more above the button.");
  if (!$("form").reportValidity()) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  const form = new FormData();
  form.append("picture", picture);
  for (const run of runs) form.append("runs", run.dataset.name);
  form.append("decoding", JSON.stringify(Object.fromEntries(runs.map((run) => [run.dataset.name, decodingOf(run)]))));
  fail();
  busy(true);
  const start = performance.now();
  try {
    const response = await fetch("/v1/caption", { method: "POST", body: form, signal: mine.signal });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    tell(answer, performance.now() - start);
  } catch (error) {
    if (error.name === "AbortError") return;
    const away = error instanceof TypeError;
    $("status").textContent = "";
    $("results").replaceChildren();
    fail("There is no caption.", away ? "The server cannot be reached. Is capsmith serve still running?" : error.message);
  } finally {
    if (mine === asking) {
      busy(false);
      // On a phone captions are further down.
      if ($("captions").getBoundingClientRect().bottom > innerHeight) $("captions").scrollIntoView();
    }
  }
}

function busy(is) {
  $("progress").hidden = !is;
  $("results").setAttribute("aria-busy", is);
  $("submit").textContent = is ? "Captioning …" : "Caption again";
  if (is) $("status").textContent = "Captioning …";
}

function tell(answer, elapsed) {
  const { picture, queue, models } = answer.milliseconds;
  const company = answer.together > 1 ? `, together with ${answer.together - 1} other` : "";
  $("status").textContent =
    `${Math.round(elapsed)} ms: picture ${Math.round(picture)}, waiting ${Math.round(queue)}, models ${Math.round(models)}${company}`;
  const best = Math.max(...answer.runs.map((run) => run.clip_score ?? 0), 0.9);
  $("results").replaceChildren(...answer.runs.map((run) => result(run, best)));
}

function result(run, best) {
  const part = $("result").content.cloneNode(true);
  const find = (selector) => part.querySelector(selector);
  find(".name").textContent = run.run;
  find(".system").textContent = run.system;
  find(".caption").textContent = run.text;
  if (run.clip_score !== null) {
    find(".clipscore").hidden = false;
    find("output").textContent = run.clip_score.toFixed(3);
    find(".bar span").style.setProperty("--share", `${(100 * run.clip_score) / best}%`);
  }
  if (run.keywords) {
    find(".words").hidden = false;
    find(".words ul").append(...run.keywords.map((word) => cell("li", word)));
  }
  if (run.candidates.length > 1) candidates(run, find);
  return part;
}

function candidates(run, find) {
  find("details").hidden = false;
  find("summary").textContent = `All ${run.candidates.length} captions`;
  find(".score").textContent = served.runs.find((other) => other.name === run.run).score;
  const judged = run.clip_score !== null;
  find(".judged").hidden = !judged;
  for (const candidate of run.candidates) {
    const row = document.createElement("tr");
    row.append(cell("td", candidate.text), cell("td", candidate.score.toFixed(3), "number"));
    if (judged) row.append(cell("td", candidate.clip_score.toFixed(3), "number"));
    find("tbody").append(row);
  }
}

function cell(tag, text, kind) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

// A value that is not right must be seen to be put right.
$("form").addEventListener("invalid", (event) => (event.target.closest("details").open = true), true);
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (picture) ask();
});
$("address").textContent = location.origin;

try {
  const response = await fetch("/v1/runs");
  served = await response.json();
  if (!response.ok) throw new Error(served.error);
  served.runs.forEach(addRun);
  $("submit").disabled = !picture;
} catch {
  fail("The runs are not known.", "The server cannot be reached. Is capsmith serve still running? Then load this page again.");
}
