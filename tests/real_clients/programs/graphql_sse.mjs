// region: client
import { createClient } from "graphql-sse";
// endregion
import { itemIds, jobId, orderId, tell, token, url, workspaceId } from "./given.mjs";
import { resuming } from "./resuming.mjs";

// region: client

const client = createClient({
  url,
  headers: () => ({ Authorization: `Bearer ${token}`, "X-Workspace-Id": workspaceId }), // for each subscription
});
// endregion

async function ask(query, variables) {
  const { value } = await client.iterate({ query, variables }).next();
  return value;
}

tell("query", await ask("query Job($id: ID!) { robotJob(id: $id) { status totalItems } }", { id: jobId }));

const REPORT = `
  mutation Report($input: UpdateJobItemResultInput!) {
    updateJobItemResult(input: $input) {
      __typename
      ... on UpdateJobItemResultSuccess { item { id status trackingNumber } }
      ... on Error { code message }
    }
  }
`;
tell("mutation", await ask(REPORT, { input: { itemId: itemIds[0], status: "SUCCESS", trackingNumber: "TRK-sse" } }));
const FOREIGN = "subscription Foreign($jobId: ID!) { robotJobProgress(jobId: $jobId) { id } }";
tell("error", await ask(FOREIGN, { jobId: orderId }));
tell("invalid document", await ask("subscription { nothing }"));

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
      error: failed, // why it could not subscribe again: graphql-sse tries 5 times, unless retryAttempts says otherwise
      complete: finished, // the job has ended, and all has been told
    },
  );
}
// endregion

follow(jobId, {
  completed: (completion) => tell("completion", { completion }),
  failed: (errors) => tell("failed", { errors: String(errors) }),
  finished: () => {
    tell("finished");
    client.dispose();
  },
});
