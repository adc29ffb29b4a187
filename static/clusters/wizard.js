// The wizard: sizes that the plan has, the price and what the size survives, before creating.

const form = document.querySelector("[data-wizard]");
const catalogue = JSON.parse(document.getElementById("catalogue").textContent);
const part = (name) => form.querySelector(`[data-part="${name}"]`);
const money = (amount) => (amount ? `$${Number(amount.amount).toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 4 })}` : "by contract");

function chosen(name) {
  return form.querySelector(`input[name="${name}"]:checked`);
}

function show() {
  const plan = catalogue[chosen("plan")?.value];
  if (!plan) return;
  for (const card of form.querySelectorAll("[data-nodes]")) {
    const isOffered = plan.counts.includes(Number(card.dataset.nodes));
    card.hidden = !isOffered;
    card.querySelector("input").disabled = !isOffered;
  }
  if (!chosen("nodes") || chosen("nodes").disabled) {
    form.querySelector(`input[name="nodes"][value="${plan.default}"]`).checked = true;
  }
  const size = plan.sizes[chosen("nodes").value];
  part("month").textContent = money(size.per_month);
  part("hour").textContent = money(size.per_hour);
  part("line").textContent = size.lines.map((line) => `${line.label}: ${line.quantity} node-hours at ${money(line.unit_price)}`).join(", ");
  part("words").textContent = size.fault_budget.sentence;
}

form.addEventListener("change", show);
form.addEventListener("submit", (event) => {
  // The server knows the form's mark and makes one cluster; this only spares the second request.
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
  part("submit").classList.add("disabled");
});
addEventListener("pageshow", () => {
  delete form.dataset.sent;
  part("submit").classList.remove("disabled");
});
show();
