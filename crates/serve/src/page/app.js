// The page: pictures go to /v1/caption, to one chosen run after the other, and captions appear as each run answers.

const $ = (id) => document.getElementById(id);
/** How the systems write, in the order of the paper. */
const SYSTEMS = {
  "clip-prefix": ["CLIP-prefix", "GPT-2, a language model, writes the caption straight from an image encoder's view of the picture."],
  sbg: ["SBG", "CLIP finds keywords for the picture, GPT-2 writes sentences from the keywords alone, and CLIP keeps the one that fits best."],
  "merge-rnn": ["Merge-RNN", "A small recurrent network writes word by word. It knows no text but its training captions."],
};
const STRATEGIES = { greedy: "greedy", beam: "beam search", sampling: "sampling" };
/** Values of a strategy where the run is configured to another one. */
const STARTS = { beam: { num_beams: 5 }, sampling: { num_return_sequences: 5, temperature: 1, top_k: 50, top_p: 1, seed: 42 } };
const WHOLE = ["num_beams", "num_return_sequences", "top_k", "seed", "max_new_tokens"];

let served = null;
/** The pictures that are chosen now. */
let pictures = [];
/** The request in flight. */
let asking = null;
/** All pictures captioned since the page was loaded, newest first. */
let entries = [];

/** Shows an error; without a text, none. */
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
  element.dataset.system = run.system;
  element.querySelector(".title").textContent = run.title;
  const learned = run.learned_from && `, learned from ${run.learned_from}`;
  element.querySelector(".origin").textContent = `run ${run.name}${learned ?? ""}`;
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

/** Tells those who come for the first time what is here, whether it works, and what to do next. */
function introduce() {
  const count = served.runs.length;
  const models = count > 1 ? `${count} models are ready.` : "A model is ready.";
  const choose = served.samples ? "Click a sample or choose pictures of your own" : "Choose pictures of your own";
  $("ready").replaceChildren(cell("strong", models), ` ${choose}: the captions appear here, each as soon as it is written.`);
  for (const [system, [name, text]] of Object.entries(SYSTEMS)) {
    if (served.runs.some((run) => run.system === system)) $("systems").append(cell("dt", name), cell("dd", text));
  }
  $("demo").hidden = !served.runs.every((run) => run.demo);
}

function summarise(element) {
  const { max_new_tokens, strategy } = decodingOf(element);
  for (const label of element.querySelectorAll("[data-kind]")) {
    label.hidden = label.dataset.kind !== strategy.kind;
    // A hidden value need not be valid.
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

// Pictures

const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function take(files) {
  const taken = [...files].filter((file) => !served || file.size <= served.bytes);
  if (!files.length) return;
  fail();
  const large = files.length - taken.length;
  if (large) fail(large > 1 ? `${large} pictures are too large.` : "A picture is too large.", `At most ${mebibytes(served.bytes)} are taken.`);
  if (!taken.length) return;
  pictures = taken.map((file) => ({ file, url: URL.createObjectURL(file) }));
  $("previews").replaceChildren(...pictures.slice(0, 12).map(({ file, url }) => image(url, `Chosen picture ${file.name}`)));
  // What the browser cannot show, the server may read nonetheless.
  for (const preview of $("previews").children) preview.addEventListener("error", () => preview.remove());
  $("previews").hidden = false;
  $("invite").hidden = true;
  $("drop").classList.add("filled");
  const names = taken.length > 1 ? `${taken.length} pictures` : taken[0].name;
  $("name").textContent = `${names} · choose, drop or paste others`;
  $("name").hidden = false;
  update();
  if (served) ask();
}

function image(url, description) {
  const element = new Image();
  element.src = url;
  element.alt = description;
  return element;
}

function addSample(number) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(image(`/samples/${number}`, `Sample picture ${number + 1}`));
  button.addEventListener("click", async () => {
    const response = await fetch(`/samples/${number}`).catch(() => null);
    if (!response?.ok) return fail("The sample picture cannot be loaded.", "Choose another one.");
    take([new File([await response.blob()], `sample ${number + 1}`)]);
  });
  return button;
}

$("file").addEventListener("change", () => {
  take($("file").files);
  // Choosing the same file again is a change, too.
  $("file").value = "";
});
addEventListener("paste", (event) => take(event.clipboardData.files));
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });
}

// Captions

/** Splits entries into lists that each fit into a request. */
function chunks(all) {
  const lists = [[]];
  let bytes = 0;
  for (const entry of all) {
    const room = served.bytes - 2 ** 16;
    if (lists.at(-1).length === served.pictures || (lists.at(-1).length && bytes + entry.file.size > room)) {
      lists.push([]);
      bytes = 0;
    }
    lists.at(-1).push(entry);
    bytes += entry.file.size;
  }
  return lists;
}

async function ask() {
  const runs = chosenRuns();
  if (!runs.length || !pictures.length || !$("form").reportValidity()) return;
  asking?.abort();
  const mine = (asking = new AbortController());
  const settings = runs.map((run) => [run.dataset.name, decodingOf(run)]);
  fail();
  const asked = pictures.map(({ file, url }) => addEntry(file, url, settings.map(([name]) => name)));
  $("results").prepend(...asked.map((entry) => entry.element));
  $("empty").hidden = true;
  document.body.classList.add("used");
  update();
  $("status").textContent = "Captioning …";
  // On a phone captions are further down.
  if ($("captions").getBoundingClientRect().bottom > innerHeight) $("captions").scrollIntoView();
  const start = performance.now();
  for (const [run, decoding] of settings) {
    for (const some of chunks(asked.filter((entry) => !entry.error))) {
      if (!some.length || mine.signal.aborted) continue;
      const outcomes = await send(some, run, decoding, mine.signal);
      some.forEach((entry, at) => tell(entry, run, outcomes[at], performance.now() - start));
    }
  }
  for (const entry of asked) finish(entry);
  if (mine !== asking) return;
  asking = null;
  const captioned = asked.filter((entry) => entry.answers.size).length;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  $("status").textContent = mine.signal.aborted ? "Stopped." : `${captioned} of ${asked.length} captioned in ${seconds} s`;
  update();
}

/** Returns the outcome for each picture by a run. */
async function send(some, run, decoding, signal) {
  const form = new FormData();
  for (const { file } of some) form.append("pictures", file);
  form.append("runs", run);
  form.append("decoding", JSON.stringify({ [run]: decoding }));
  const all = (error) => some.map(() => error);
  try {
    const response = await fetch("/v1/caption", { method: "POST", body: form, signal });
    const answer = await response.json();
    return response.ok ? answer.pictures : all({ ...answer, status: response.status });
  } catch (error) {
    if (error.name === "AbortError") return all({ error: "stopped", status: 0 });
    fail("There is no caption.", "The server cannot be reached. Is capsmith serve still running?");
    return all({ error: "the server cannot be reached", status: 0 });
  }
}

function addEntry(file, url, runs) {
  const element = $("entry").content.cloneNode(true).querySelector("article");
  const entry = { file, element, runs: new Map(), answers: new Map(), times: [] };
  element.querySelector("img").src = url;
  element.querySelector("h3").textContent = file.name;
  for (const run of runs) {
    const part = $("result").content.cloneNode(true).querySelector(".result");
    const { title, system } = served.runs.find((other) => other.name === run);
    part.dataset.system = system;
    part.querySelector(".title").textContent = title;
    part.querySelector(".origin").textContent = `run ${run}`;
    element.querySelector(".runs").append(part);
    entry.runs.set(run, part);
  }
  element.querySelector(".copy").addEventListener("click", (event) => copy(entry, event.target));
  entries.unshift(entry);
  return entry;
}

/** Shows what a run answered for a picture. */
function tell(entry, run, outcome, elapsed) {
  const part = entry.runs.get(run);
  if (outcome.error) {
    // An unreadable picture is the same to all runs.
    if (outcome.status === 422 || outcome.status === 413) entry.error = outcome.error;
    part.querySelector(".caption").classList.add("wrong");
    part.querySelector(".caption").textContent = sentence(outcome.error);
    return;
  }
  const [answer] = outcome.runs;
  const { picture, queue, models } = outcome.milliseconds;
  const company = outcome.together > 1 ? `, ${outcome.together} pictures together` : "";
  entry.times.push(`${run}: ${Math.round(picture)} ms picture, ${Math.round(queue)} ms waiting, ${Math.round(models)} ms models${company}`);
  entry.seconds = elapsed / 1000;
  entry.answers.set(run, { ...answer, width: outcome.width, height: outcome.height });
  show(part, answer);
  if (answer.clip_score !== null) $("scale").hidden = false;
}

/** Shows what is known once all runs have answered for a picture. */
function finish(entry) {
  const { element, answers } = entry;
  if (entry.error) {
    element.querySelector(".failed").hidden = false;
    element.querySelector(".failed").textContent = sentence(entry.error);
    element.querySelector(".runs").hidden = true;
    element.querySelector("img").hidden = true;
  }
  for (const part of element.querySelectorAll(".waiting:not(.wrong)")) part.textContent = "stopped";
  const scores = [...answers.values()].map((answer) => answer.clip_score);
  const best = Math.max(...scores);
  if (scores.length > 1 && !scores.includes(null)) {
    for (const [run, answer] of answers) entry.runs.get(run).querySelector(".best").hidden = answer.clip_score < best;
  }
  if (!answers.size) return;
  element.querySelector("img").alt = `${entry.file.name}: ${[...answers.values()][0].text}`;
  element.querySelector(".copy").disabled = false;
  const time = element.querySelector(".time");
  time.hidden = false;
  time.querySelector("summary").textContent = `${entry.seconds.toFixed(1)} s`;
  time.querySelector("ul").replaceChildren(...entry.times.map((text) => cell("li", text)));
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);

function show(part, answer) {
  const find = (selector) => part.querySelector(selector);
  find(".title").textContent = answer.title;
  find(".caption").classList.remove("waiting");
  find(".caption").textContent = answer.text;
  if (answer.clip_score !== null) {
    find(".similarity").hidden = false;
    find("output").textContent = answer.clip_score.toFixed(2);
    find(".meter span").style.setProperty("--share", `${100 * Math.min(answer.clip_score, 1)}%`);
  }
  if (answer.keywords) {
    find(".words").hidden = false;
    find(".words ul").append(...answer.keywords.map((word) => cell("li", word)));
  }
  if (answer.candidates.length > 1) candidates(answer, find);
}

function candidates(answer, find) {
  find("details").hidden = false;
  find("summary").textContent = `All ${answer.candidates.length} captions`;
  find(".score").textContent = served.runs.find((other) => other.name === answer.run).score;
  const judged = answer.clip_score !== null;
  find(".judged").hidden = !judged;
  for (const candidate of answer.candidates) {
    const row = document.createElement("tr");
    row.append(cell("td", candidate.text), cell("td", candidate.score.toFixed(3), "number"));
    if (judged) row.append(cell("td", candidate.clip_score.toFixed(2), "number"));
    find("tbody").append(row);
  }
}

function cell(tag, text, kind) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

/** Enables the buttons that can do something now. */
function update() {
  $("progress").hidden = !asking;
  $("results").setAttribute("aria-busy", asking !== null);
  $("submit").disabled = !asking && !(served && pictures.length && chosenRuns().length);
  $("submit").textContent = asking ? "Stop" : entries.length ? "Caption again" : "Caption";
  const captioned = !asking && entries.some((entry) => entry.answers.size);
  for (const button of ["csv", "json"]) $(button).disabled = !captioned;
  $("clear").disabled = asking !== null || !entries.length;
}

// Copies and files

async function copy(entry, button) {
  const lines = [...entry.answers.values()].map((answer) => `${answer.title} (${answer.run}): ${answer.text}`);
  const text = [entry.file.name, ...lines].join("\n");
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without https, other machines have no clipboard in scripts.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

/** All captions in the order in which their pictures were captioned. */
const rows = () =>
  entries.toReversed().flatMap(({ file, answers }) => [...answers.values()].map((answer) => ({ picture: file.name, ...answer })));

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

$("json").addEventListener("click", () => save("captions.json", "application/json", `${JSON.stringify(rows(), null, 1)}\n`));
$("csv").addEventListener("click", () => {
  const columns = ["picture", "run", "system", "title", "text", "caption", "score", "similarity", "clip_score", "keywords"];
  const field = (value) => `"${String(value ?? "").replaceAll('"', '""')}"`;
  const lines = rows().map((row) => columns.map((column) => field(row[column])).join(","));
  save("captions.csv", "text/csv", [columns.join(","), ...lines, ""].join("\r\n"));
});
$("clear").addEventListener("click", () => {
  for (const entry of entries) entry.element.remove();
  entries = [];
  $("empty").hidden = false;
  $("scale").hidden = true;
  $("status").textContent = "";
  update();
});

// An invalid value must be visible to be corrected.
$("form").addEventListener("invalid", (event) => (event.target.closest("details").open = true), true);
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (asking) asking.abort();
  else ask();
});
$("runs").addEventListener("change", update);
$("address").textContent = location.origin;

try {
  const response = await fetch("/v1/runs");
  served = await response.json();
  if (!response.ok) throw new Error(served.error);
  served.runs.forEach(addRun);
  introduce();
  document.querySelector(".samples").append(...Array.from({ length: served.samples }, (_, number) => addSample(number)));
  $("samples").hidden = !served.samples;
  update();
} catch {
  $("empty").hidden = true;
  fail("The runs are not known.", "The server cannot be reached. Is capsmith serve still running? Then load this page again.");
}
