// The description of the interface, made from /openapi.json.

const $ = (id) => document.getElementById(id);

function make(tag, text, kind) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

/** An element in whose text the names of types lead to them. */
function linked(tag, text) {
  const element = make(tag);
  for (const part of text.split(/(\w+)/)) {
    const known = Object.hasOwn(components.schemas, part);
    element.append(known ? make("a", part) : part);
    if (known) element.lastChild.href = `#${part}`;
  }
  return element;
}

function table(heads, rows) {
  const element = make("table");
  const cells = (tag, texts) => {
    const row = make("tr");
    row.append(...texts.map((text) => linked(tag, text)));
    return row;
  };
  const [head, body] = [make("thead"), make("tbody")];
  head.append(cells("th", heads));
  body.append(...rows.map((row) => cells("td", row)));
  element.append(head, body);
  return element;
}

/** A short name of a schema's type. */
function type(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map(type).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  const kinds = [schema.type ?? "any"].flat();
  if (kinds.includes("array")) return `array of ${type(schema.items)}`;
  return schema.format === "binary" ? "file" : kinds.join(" or ");
}

function fields(schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => [name, type(field), field.description ?? ""]);
  return rows.length ? [table(["field", "type", "meaning"], rows)] : [];
}

function operation(path, method, { summary, description, parameters = [], requestBody, responses }) {
  const section = make("section");
  const title = make("h2");
  title.append(make("span", method.toUpperCase(), "method"), path);
  section.append(title, make("p", summary));
  if (description) section.append(make("p", description));
  const part = (name, ...content) => section.append(make("h3", name), ...content);
  if (parameters.length) {
    const rows = parameters.map(({ name, in: place, description }) => [name, place, description ?? ""]);
    part("Parameters", table(["name", "in", "meaning"], rows));
  }
  if (requestBody) {
    const rows = Object.entries(requestBody.content).map(([kind, { schema }]) => [kind, schema.$ref ? type(schema) : "bytes of a picture"]);
    part("Body", table(["content type", "type"], rows));
  }
  const rows = Object.entries(responses).map(([status, { description, content = {} }]) => {
    const [body] = Object.values(content);
    return [status, body?.schema ? type(body.schema) : "", description];
  });
  part("Answers", table(["status", "type", "meaning"], rows));
  return section;
}

const { origin } = location;
$("examples").textContent = [
  `curl -F picture=@dog.jpg ${origin}/v1/caption`,
  `curl -F pictures=@dog.jpg -F pictures=@cat.jpg '${origin}/v1/caption?runs=RUN,RUN'`,
  `curl -H 'content-type: image/jpeg' --data-binary @dog.jpg ${origin}/v1/caption`,
  `curl --json '{"picture": "data:image/jpeg;base64,…"}' ${origin}/v1/caption`,
  `curl --data-binary @dog.jpg -H 'content-type: image/jpeg' ${origin}/v1/image-to-text/RUN`,
].join("\n");

const { paths, components } = await (await fetch("/openapi.json")).json();
const operations = Object.entries(paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, one]) => operation(path, method, one)),
);
const types = Object.entries(components.schemas).map(([name, schema]) => {
  const section = make("section");
  section.id = name;
  section.append(make("h2", name), make("p", schema.description ?? ""), ...fields(schema));
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) section.append(linked("p", `Either ${type(schema)}.`));
  return section;
});
$("operations").replaceChildren(...operations, ...types);
