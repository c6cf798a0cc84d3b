// region: client
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, ServerError, gql } from "@apollo/client";
import { RetryLink } from "@apollo/client/link/retry";
import { tap } from "rxjs";
// endregion
import { jobId, orderId, tell, token, url, workspaceId } from "./given.mjs";

// region: client

const headers = { Authorization: `Bearer ${token}`, "X-Workspace-Id": workspaceId };

/** Tries again what was cut; what the server refuses stays refused, but for 429 and its own troubles. */
const retrying = new RetryLink({
  delay: { initial: 250, max: 10_000 },
  attempts: (count, { operationType }, error) =>
    operationType === "subscription" &&
    !(ServerError.is(error) && error.statusCode < 500 && error.statusCode !== 429),
});

/** Keeps `after` at the last cursor seen: what is tried again goes on from there. */
const resumingLink = new ApolloLink((operation, forward) =>
  forward(operation).pipe(
    tap(({ data }) => {
      const cursor = data?.robotJobItemCompleted?.cursor;
      if (cursor) operation.variables = { ...operation.variables, after: cursor };
    }),
  ),
);

const client = new ApolloClient({
  link: ApolloLink.from([retrying, resumingLink, new HttpLink({ uri: url, headers })]),
  cache: new InMemoryCache(),
});
// endregion

const { data } = await client.query({
  query: gql`query Job($id: ID!) { robotJob(id: $id) { id status totalItems } }`,
  variables: { id: jobId },
});
tell("query", { data });

function followed(query, variables, told) {
  return new Promise((resolve, reject) => {
    client.subscribe({ query, variables }).subscribe({ next: told, error: reject, complete: resolve });
  });
}

const codes = (error) => (CombinedGraphQLErrors.is(error) ? error.errors.map(({ extensions }) => extensions.code) : []);
const PROGRESS = gql`subscription Progress($jobId: ID!) { robotJobProgress(jobId: $jobId) { id status } }`;
await followed(PROGRESS, { jobId: orderId }, ({ error }) => tell("error", { codes: codes(error) }));

const FOLLOW = gql`
  subscription Follow($jobId: ID!, $after: String) {
    robotJobItemCompleted(jobId: $jobId, after: $after) {
      cursor
      item { id status trackingNumber }
      job { id status successCount errorCount }
    }
  }
`;
await followed(FOLLOW, { jobId, after: "0" }, ({ data, error }) =>
  error ? tell("failed", { error: String(error) }) : tell("completion", { completion: data.robotJobItemCompleted }),
);
tell("finished", { job: client.cache.extract()[`RobotJob:${jobId}`] });
client.stop();
