// Says how many nodes are chosen and what that is to the cluster, before anything is broken.

const form = document.querySelector("[data-chaos-form]");

function show() {
  const f = Number(form.dataset.f);
  const chosen = [...form.querySelectorAll("select")].filter((select) => select.value).length;
  const isBeyond = chosen > f;
  const words =
    chosen === 0 && f === 0
      ? "Choose a fault; whatever it is, it is beyond f = 0."
      : chosen === 0
      ? `Choose a fault for up to ${f} ${f === 1 ? "node" : "nodes"}.`
      : isBeyond
        ? `${chosen} of f = ${f}: more than the cluster bears. Tick the box below to see what happens.`
        : `${chosen} of f = ${f}: the cluster must hold.`;
  const part = form.querySelector('[data-part="count"]');
  part.textContent = words;
  part.className = `mb-2 ${isBeyond ? "text-red" : "text-secondary"}`;
}

if (form) {
  form.addEventListener("change", show);
  show();
}
