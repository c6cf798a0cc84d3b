// region: client
import { createClient } from "graphql-ws";
// endregion
import { itemIds, jobId, tell, token, workspaceId, wsUrl } from "./given.mjs";
import { resuming } from "./resuming.mjs";

// region: client

let silence;

const client = createClient({
  url: wsUrl, // such as wss://robot-jobs.example/graphql
  connectionParams: () => ({ Authorization: `Bearer ${token}`, "X-Workspace-Id": workspaceId }), // for each connection
  // By default graphql-ws gives up after 5 tries, and at once when a connection is refused, as during a restart.
  shouldRetry: () => true,
  retryAttempts: Infinity,
  retryWait: (retries) => new Promise((resolve) => setTimeout(resolve, Math.min(250 * 2 ** retries, 10_000))),
  // A network that went away in silence is noticed by a ping that is not answered.
  keepAlive: 10_000,
  on: {
    ping: (received) => {
      if (!received) silence = setTimeout(() => client.terminate(), 5_000);
    },
    pong: () => clearTimeout(silence),
    closed: () => clearTimeout(silence),
  },
});
// endregion

// region: query
async function ask(query, variables) {
  const { value } = await client.iterate({ query, variables }).next();
  return value;
}

const { data } = await ask("query Job($id: ID!) { robotJob(id: $id) { status totalItems } }", { id: jobId });
// endregion
tell("query", { data });

const REPORT = `
  mutation Report($input: UpdateJobItemResultInput!) {
    updateJobItemResult(input: $input) {
      __typename
      ... on UpdateJobItemResultSuccess { item { id status trackingNumber } }
      ... on Error { code message }
    }
  }
`;
const input = { itemId: itemIds[0], status: "SUCCESS", trackingNumber: "TRK-ws" };
tell("mutation", await ask(REPORT, { input }));

client.on("connected", (_socket, _payload, isAgain) => isAgain && tell("reconnected"));

// region: follow
const FOLLOW = `
  subscription Follow($jobId: ID!, $after: String) {
    robotJobItemCompleted(jobId: $jobId, after: $after) {
      cursor
      item { id status trackingNumber errorType errorMessage }
      job { status successCount errorCount totalItems }
    }
  }
`;

function follow(jobId, { completed, failed, finished }) {
  return resuming(client).subscribe(
    { query: FOLLOW, variables: { jobId, after: "0" } }, // "0": from the beginning
    {
      next: ({ data, errors }) => (errors ? failed(errors) : completed(data.robotJobItemCompleted)),
      error: failed, // an array of GraphQL errors, or why the socket could not be opened again
      complete: finished, // the job has ended, and all has been told
    },
  );
}
// endregion

follow(jobId, {
  completed: (completion) => tell("completion", { completion }),
  failed: (errors) => tell("failed", { errors }),
  finished: () => {
    tell("finished");
    client.dispose();
  },
});
