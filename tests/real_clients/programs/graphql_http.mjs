// The audit of GraphQL over HTTP, by the library of those who wrote the specification down.
import { auditServer } from "graphql-http";
import { tell, token, url, workspaceId } from "./given.mjs";

const credentials = { Authorization: `Bearer ${token}`, "X-Workspace-Id": workspaceId };

const results = await auditServer({
  url,
  fetchFn: (address, request = {}) => fetch(address, { ...request, headers: { ...request.headers, ...credentials } }),
});

for (const { id, name, status, reason } of results) tell("audit", { id, name, status, reason });
