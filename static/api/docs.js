// Draws the OpenAPI document: routes by first path part, parameters, bodies and answers.
const box = document.getElementById("api-docs");
const METHODS = ["get", "post", "put", "patch", "delete"];
const COLOURS = { get: "azure", post: "green", put: "yellow", patch: "yellow", delete: "red" };

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function resolve(document_, schema) {
  const name = schema?.$ref?.split("/").pop();
  return name ? document_.components.schemas[name] : schema;
}

function fields(document_, schema) {
  const found = resolve(document_, schema);
  const list = element("ul", "mb-2");
  for (const [name, field] of Object.entries(found?.properties ?? {})) {
    const item = element("li");
    item.append(element("code", "", name), ` ${resolve(document_, field)?.type ?? "value"}`);
    if (found.required?.includes(name)) item.append(" · required");
    list.append(item);
  }
  return list;
}

function route(document_, path, method, operation) {
  const item = element("details", "list-group-item");
  const summary = element("summary", "api-route");
  summary.append(
    element("span", `badge bg-${COLOURS[method]}-lt`, method.toUpperCase()),
    element("code", "", path),
  );
  const body = element("div", "pt-2 ps-2");
  body.append(element("p", "text-secondary", operation.description ?? ""));
  for (const parameter of operation.parameters ?? []) {
    const line = element("div");
    line.append(element("code", "", parameter.name), ` in ${parameter.in}. `, parameter.description ?? "");
    body.append(line);
  }
  const content = operation.requestBody?.content?.["application/json"];
  if (content) body.append(element("div", "subheader mt-2", "Body"), fields(document_, content.schema));
  body.append(element("div", "subheader mt-2", "Answers"));
  body.append(element("p", "", Object.keys(operation.responses).join(", ")));
  item.append(summary, body);
  return item;
}

try {
  const response = await fetch(box.dataset.schema, { headers: { Accept: "application/vnd.oai.openapi+json" } });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const document_ = await response.json();
  const groups = new Map();
  for (const [path, operations] of Object.entries(document_.paths)) {
    const parts = path.replace("/api/v1/", "").split("/");
    const name = parts[0] === "orgs" ? (parts[2] ?? "orgs").split(".")[0] : parts[0];
    const rows = groups.get(name) ?? [];
    for (const method of METHODS) {
      if (operations[method]) rows.push(route(document_, path, method, operations[method]));
    }
    groups.set(name, rows);
  }
  box.replaceChildren();
  for (const [name, rows] of groups) {
    const card = element("div", "card mb-3");
    const header = element("div", "card-header");
    header.append(element("h2", "card-title", name));
    const list = element("div", "list-group list-group-flush");
    list.append(...rows);
    card.append(header, list);
    box.append(card);
  }
} catch (error) {
  box.replaceChildren(element("div", "alert alert-danger", `The document can not be read: ${error.message}`));
}
