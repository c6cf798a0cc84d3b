// The address's fragment (#token=…&workspace=…&query=…) fills in the page. A fragment is never sent to a server;
// it is taken out of the address at once, so that it is neither bookmarked nor seen over a shoulder.

/** What the fragment asks for, or null when it names none of our fields. Removes it from address and history. */
export function takeFragment() {
  const fields = new URLSearchParams(window.location.hash.slice(1));
  const token = fields.get("token")?.trim();
  const workspace = fields.get("workspace")?.trim();
  const query = fields.get("query");
  if (!token && !workspace && !query) return null;

  window.history.replaceState(null, "", window.location.pathname + window.location.search);
  const headers = {};
  if (token) headers["Authorization"] = /^bearer /i.test(token) ? token : `Bearer ${token}`;
  if (workspace) headers["X-Workspace-Id"] = workspace;
  return { headers, query };
}
