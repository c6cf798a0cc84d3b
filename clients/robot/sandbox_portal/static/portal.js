// The portal's pages in a browser: the city field, the form's own ways, and the dialog.
"use strict";

const form = document.querySelector("#pedido");

// ------------------------------------------------------------------------------------------ the dialog

function showDialog({ icon, title, text }, onClose) {
  const container = document.createElement("div");
  container.className = "swal2-container";
  container.innerHTML = `<div class="swal2-popup swal2-modal swal2-show" role="dialog" aria-modal="true"
    aria-labelledby="swal2-title" aria-describedby="swal2-html-container"><div class="swal2-icon"></div>
    <h2 class="swal2-title" id="swal2-title"></h2>
    <div class="swal2-html-container" id="swal2-html-container"></div>
    <div class="swal2-actions"><button type="button" class="swal2-confirm swal2-styled">OK</button></div></div>`;
  container.querySelector(".swal2-popup").classList.add(`swal2-icon-${icon}`);
  container.querySelector(".swal2-icon").classList.add(`swal2-${icon}`);
  container.querySelector(".swal2-title").textContent = title;
  container.querySelector(".swal2-html-container").textContent = text; // may hold anything that was typed
  document.body.append(container);
  closable(container, onClose);
}

function closable(container, onClose) {
  const button = container.querySelector(".swal2-confirm");
  button.addEventListener("click", () => {
    container.remove();
    onClose?.();
  });
  button.focus();
}

for (const container of document.querySelectorAll(".swal2-container")) closable(container);

// ------------------------------------------------------------------------------------------ the city field

function completeCities(input, chosen, list, onChoice) {
  let asked = 0;
  let options = [];
  let marked = -1;

  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
  };
  const choose = (city, allowsFreight) => {
    asked += 1; // an answer that is still under way comes too late
    chosen.value = city;
    input.value = city;
    close();
    onChoice(allowsFreight);
  };
  const mark = (place) => {
    marked = place;
    options.forEach((option, at) => option.setAttribute("aria-selected", String(at === place)));
  };
  const show = (cities) => {
    options = cities.map(({ ciudad, recaudo }) => {
      const option = document.createElement("li");
      option.setAttribute("role", "option");
      option.textContent = ciudad;
      option.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
      option.addEventListener("click", () => choose(ciudad, recaudo));
      return option;
    });
    list.replaceChildren(...options);
    list.hidden = options.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    mark(-1);
  };

  input.addEventListener("input", async () => {
    asked += 1;
    const question = asked;
    chosen.value = "";
    close();
    if (!input.value.trim()) return;
    const answer = await fetch(`${form.dataset.ciudades}?texto=${encodeURIComponent(input.value)}`);
    if (answer.status === 401) location.assign(form.dataset.ingreso);
    else if (answer.ok && question === asked) {
      const { ciudades } = await answer.json();
      if (question === asked) show(ciudades);
    }
  });
  input.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "ArrowDown") mark(Math.min(marked + 1, options.length - 1));
    else if (event.key === "ArrowUp") mark(Math.max(marked - 1, 0));
    else if (event.key === "Enter") options[Math.max(marked, 0)].click();
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  input.addEventListener("blur", () => {
    input.value = chosen.value; // what was typed and not chosen counts for nothing
    asked += 1;
    close();
  });
}

// ------------------------------------------------------------------------------------------ the form

let toKeep = 0;

function keepSoon() {
  toKeep ||= setTimeout(keepWhatThePortalKeeps); // once, however many fields are typed in one go
}

function keepWhatThePortalKeeps() {
  clearTimeout(toKeep);
  toKeep = 0;
  if (!form.elements.referencia.value) return;
  // Waits for the answer: whoever looks at the form after typing sees what the portal has kept of it.
  const request = new XMLHttpRequest();
  request.open("POST", form.dataset.borrador, false);
  request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
  try {
    request.send(new URLSearchParams(new FormData(form)).toString());
  } catch {
    return; // no connection: the button will tell
  }
  if (request.status === 401) location.assign(form.dataset.ingreso);
  if (request.status !== 200) return;
  for (const [name, value] of Object.entries(JSON.parse(request.responseText).campos)) {
    const field = form.elements[name];
    if (field.value === value) continue;
    field.value = value;
    if (name === "ciudad") document.querySelector("#ciudad_destino").value = value;
  }
}

async function send(event) {
  event.preventDefault();
  if (toKeep) keepWhatThePortalKeeps();
  const button = form.querySelector("#enviar");
  button.disabled = true;
  button.textContent = "Enviando…";
  let dialog;
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { Accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
    });
    if (answer.status === 401) {
      location.assign(form.dataset.ingreso);
      return;
    }
    dialog = await answer.json();
  } catch {
    return; // no dialog: the page cannot know what became of the order
  }
  button.disabled = false;
  button.textContent = "Enviar";
  showDialog(dialog, dialog.icon === "success" ? () => location.reload() : undefined);
}

if (form) {
  const freight = form.querySelectorAll("[name=flete_contra_entrega]"); // S, N
  completeCities(
    document.querySelector("#ciudad_destino"),
    form.elements.ciudad,
    document.querySelector("#ciudad_destino_lista"),
    (allowsFreight) => {
      for (const radio of freight) radio.disabled = !allowsFreight;
      if (!allowsFreight) freight[1].checked = true;
      keepWhatThePortalKeeps();
    },
  );

  const amount = form.elements.total_coniva;
  let wholeAmount = amount.value;
  amount.addEventListener("input", () => {
    if (/^[0-9]*$/.test(amount.value)) wholeAmount = amount.value;
    else amount.value = wholeAmount; // decimals are not taken, nor anything else
  });
  // A reference that is typed letter by letter is another one until the field is left.
  const isHalfTyped = (event) => event.target.name === "referencia" && event.data?.length === 1;
  form.addEventListener("input", (event) => {
    if (event.target.name && !isHalfTyped(event)) keepSoon();
  });
  form.elements.referencia.addEventListener("change", keepWhatThePortalKeeps);
  form.addEventListener("submit", send);
}
