// region: client
import { Client, cacheExchange, fetchExchange, gql, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-ws";
// endregion
import { endOfWords, itemIds, jobId, onWord, orderId, tell, token, url, workspaceId, wsUrl } from "./given.mjs";
import { resuming } from "./resuming.mjs";

// region: client

const credentials = () => ({ Authorization: `Bearer ${token}`, "X-Workspace-Id": workspaceId });
const socket = createClient({ url: wsUrl, connectionParams: credentials });

const client = new Client({
  url,
  fetchOptions: () => ({ headers: credentials() }),
  exchanges: [
    cacheExchange,
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: (request) => ({
        subscribe: (sink) => ({ unsubscribe: resuming(socket).subscribe(request, sink) }),
      }),
    }),
  ],
});
// endregion

// region: query
const JOB = gql`
  query Job($id: ID!) {
    robotJob(id: $id) {
      id
      status
      items(first: 2) { nodes { id status } pageInfo { hasNextPage } }
    }
  }
`;
const { data, error } = await client.query(JOB, { id: jobId });
// endregion
tell("query", { data, error });

// region: mutation
const REPORT = gql`
  mutation Report($input: UpdateJobItemResultInput!) {
    updateJobItemResult(input: $input) {
      __typename
      ... on UpdateJobItemResultSuccess { item { id status trackingNumber } job { id successCount } }
      ... on Error { code message }
    }
  }
`;

async function report(input) {
  const { data, error } = await client.mutation(REPORT, { input });
  if (error) throw error; // not expected: no token, no network, a fault; see error.graphQLErrors[0]?.extensions.code
  return data.updateJobItemResult; // what can be expected is data: look at __typename, or at code and message
}
// endregion
tell("mutation", { result: await report({ itemId: itemIds[0], status: "SUCCESS", trackingNumber: "TRK-urql" }) });
tell("typed error", { result: await report({ itemId: orderId, status: "SUCCESS", trackingNumber: "TRK-urql" }) });

const codes = (result) => result.error?.graphQLErrors.map(({ extensions }) => extensions.code);
const network = (result) => String(result.error?.networkError ?? "");
const invalid = await client.query("{ nothing }", {});
tell("invalid document", { codes: codes(invalid), network: network(invalid) });
const nobody = await client.query(JOB, { id: jobId }, { fetchOptions: {}, requestPolicy: "network-only" });
tell("nobody", { codes: codes(nobody), network: network(nobody) });

socket.on("connected", (_socket, _payload, isAgain) => isAgain && tell("reconnected"));
onWord(() => socket.terminate()); // the test has the connection cut

function failed(error) {
  tell("failed", { error });
}

function completed(completion) {
  tell("completion", { completion });
  if (completion.job.status === "COMPLETED") {
    following.unsubscribe();
    socket.dispose();
    endOfWords();
  }
}

// region: follow
const FOLLOW = gql`
  subscription Follow($jobId: ID!, $after: String) {
    robotJobItemCompleted(jobId: $jobId, after: $after) {
      cursor
      item { id status trackingNumber }
      job { id status successCount errorCount }
    }
  }
`;
const following = client.subscription(FOLLOW, { jobId, after: "0" }).subscribe(({ data, error }) => {
  if (error) failed(error);
  else completed(data.robotJobItemCompleted);
});
// endregion
