const about = document.getElementById("about");
const list = document.getElementById("operations");

function element(name, text) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  return node;
}

function operationNode(method, path, operation) {
  const details = element("details");
  const summary = element("summary");
  summary.append(element("b", method.toUpperCase()), element("code", path), operation.summary);
  const table = element("table");
  for (const [status, response] of Object.entries(operation.responses)) {
    const row = element("tr");
    row.append(element("td", status), element("td", response.description));
    table.append(row);
  }
  details.append(summary, table);
  return details;
}

try {
  const description = await (await fetch("/openapi.json")).json();
  about.textContent = `${description.info.description} Server: ${description.servers[0].url}`;
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      list.append(operationNode(method, path, operation));
    }
  }
} catch (error) {
  about.textContent = `The description could not be loaded (${error}). Reload to try again.`;
}
