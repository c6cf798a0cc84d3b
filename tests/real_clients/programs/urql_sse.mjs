// region: client
import { Client, cacheExchange, fetchExchange, gql, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-sse";
// endregion
import { itemIds, jobId, tell, token, url, workspaceId } from "./given.mjs";
import { resuming } from "./resuming.mjs";

// region: client

const headers = { Authorization: `Bearer ${token}`, "X-Workspace-Id": workspaceId };
const events = createClient({ url, headers });

const client = new Client({
  url,
  fetchOptions: { headers },
  exchanges: [
    cacheExchange,
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: (request) => ({
        subscribe: (sink) => ({ unsubscribe: resuming(events).subscribe(request, sink) }),
      }),
    }),
  ],
});
// endregion

// What the default exchanges ask for lists every form there is: the answers are to be JSON.
const asked = [];
const listening = async (address, request) => {
  const answer = await fetch(address, request);
  asked.push({ accept: request.headers.accept, type: answer.headers.get("content-type") });
  return answer;
};
const JOB = gql`query Job($id: ID!) { robotJob(id: $id) { id status totalItems } }`;
const { data } = await client.query(JOB, { id: jobId }, { fetch: listening });
tell("query", { data });
const REPORT = gql`
  mutation Report($input: UpdateJobItemResultInput!) {
    updateJobItemResult(input: $input) { __typename }
  }
`;
const input = { itemId: itemIds[0], status: "SUCCESS", trackingNumber: "TRK-urql-sse" };
const changed = await client.mutation(REPORT, { input }, { fetch: listening });
tell("mutation", { data: changed.data });
tell("asked", { asked });

const FOLLOW = gql`
  subscription Follow($jobId: ID!, $after: String) {
    robotJobItemCompleted(jobId: $jobId, after: $after) {
      cursor
      item { id status trackingNumber }
      job { id status successCount errorCount }
    }
  }
`;

/** Until the job is finished, by that client. */
function followed(what, client, context) {
  return new Promise((resolve) => {
    const following = client.subscription(FOLLOW, { jobId, after: "0" }, context).subscribe(({ data, error }) => {
      if (error) tell("failed", { error: String(error) });
      else tell(what, { completion: data.robotJobItemCompleted });
      if (error || data.robotJobItemCompleted.job.status === "COMPLETED") {
        resolve();
        queueMicrotask(() => following.unsubscribe());
      }
    });
  });
}

await followed("completion", client);
// urql's own reader of streams, without any other package.
const alone = new Client({ url, fetchOptions: { headers }, exchanges: [fetchExchange], fetchSubscriptions: true });
await followed("again", alone, { fetch: listening });
tell("asked", { asked: asked.slice(2) });
events.dispose();
