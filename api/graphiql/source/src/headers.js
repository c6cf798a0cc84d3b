// The text of the headers editor, and what of it is sent.

const STORAGE_KEY = "robot-jobs:graphiql-headers";
const TEMPLATE = { Authorization: "Bearer ", "X-Workspace-Id": "" };

/** The headers to send, without those left blank. Undefined when the text is no JSON object. */
export function parseHeaders(text) {
  let values;
  try {
    values = text.trim() === "" ? {} : JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) return undefined;
  return withoutBlanks(values);
}

export function withoutBlanks(values) {
  const filled = Object.entries(values ?? {})
    .map(([name, value]) => [name, String(value ?? "").trim()])
    .filter(([, value]) => value !== "" && value.toLowerCase() !== "bearer");
  return Object.fromEntries(filled);
}

/** `text` with `changes` put in; text that is no JSON object is replaced. */
export function mergeHeaders(text, changes) {
  return JSON.stringify({ ...TEMPLATE, ...parseHeaders(text), ...changes }, null, 2);
}

// sessionStorage: the headers survive a reload of this tab and end with it. GraphiQL's own storage never holds them.
export function recallHeaders() {
  try {
    return window.sessionStorage.getItem(STORAGE_KEY) ?? mergeHeaders("", {});
  } catch {
    return mergeHeaders("", {});
  }
}

export function rememberHeaders(text) {
  try {
    window.sessionStorage.setItem(STORAGE_KEY, text);
  } catch {
    // Storage is off or full: the headers then last until the next reload.
  }
}
