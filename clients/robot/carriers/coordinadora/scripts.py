"""What the robot has the portal's pages do, and tell of themselves."""

TYPE = """async (fields) => {
  const kinds = ["text", "email", "tel", "number", "search", "url", "textarea"];
  let typed = 0;
  for (const [name, value] of fields) {
    const field = document.getElementsByName(name)[0];
    if (!kinds.includes(field?.type) || field.disabled || field.readOnly) break;
    if (!field.checkVisibility({ visibilityProperty: true })) break;
    field.focus();
    if (document.activeElement !== field) break;
    if (value || field.value) {
      const inputType = value ? "insertText" : "deleteContentBackward";
      const asked = new InputEvent("beforeinput", { inputType, data: value || null, bubbles: true, cancelable: true });
      field.select();
      if (field.dispatchEvent(asked) // which the command leaves out
        && !document.execCommand(value ? "insertText" : "delete", false, value)) break;
    }
    await null;
    typed += 1;
  }
  return typed;
}"""
"""Given [name, value] pairs: types them one after another, and how many of them, until one cannot be typed in.

By the browser's own editing, so that the page hears what it hears of a keyboard; the command leaves out `beforeinput`.
"""

READ_FORM = """([texts, radios, city]) => {
  const named = (name) => [...document.getElementsByName(name)];
  const form = {};
  for (const name of texts) form[name] = named(name)[0]?.value ?? "";
  for (const name of radios) form[name] = named(name).find((radio) => radio.checked)?.value ?? "";
  const shown = document.querySelector("[role=combobox]")?.value ?? "";
  const sent = named(city)[0]?.value ?? shown;
  form[city] = shown === sent ? shown : `${shown || '""'} shown, ${sent || '""'} sent`;
  return form;
}"""
"""Given the names of texts, radios and the city: every field as the page would send it, by name."""

READ_DIALOG = """() => {
  for (const popup of document.querySelectorAll(".swal2-popup")) {
    const icon = ["success", "error"].find((name) => popup.classList.contains(`swal2-icon-${name}`)
      || popup.querySelector(`.swal2-icon.swal2-${name}`)?.checkVisibility());
    const text = (part) => popup.querySelector(part)?.textContent?.trim() ?? "";
    if (icon) return { icon, title: text(".swal2-title"), text: text(".swal2-html-container, .swal2-content") };
  }
  return null;
}"""
"""Its icon, title and text, or null."""

READ_LIST = r"""() => {
  const text = (cell) => cell.textContent.trim();
  const range = [...document.body.querySelectorAll("*")].find((each) => !each.childElementCount
    && !each.closest("tbody, script, style") && /\d\s*[-–—]\s*\d[\d.,]*\s+(de|of)\s+\d/.test(each.textContent));
  const table = document.querySelector("table");
  if (!range || !table) return null;
  return {
    range: text(range),
    heads: [...table.querySelectorAll("thead th")].map(text),
    rows: [...table.querySelectorAll("tbody tr")].filter((row) => row.cells.length > 1)
      .map((row) => [...row.cells].map(text)),
  };
}"""
"""What the table says of itself, its heads and rows, or null."""
