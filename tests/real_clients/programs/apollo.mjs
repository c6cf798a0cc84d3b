// region: possible types
import { readFileSync } from "node:fs";
import { buildSchema, isAbstractType } from "graphql";
// endregion
// region: client
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { SetContextLink } from "@apollo/client/link/context";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { getMainDefinition, relayStylePagination } from "@apollo/client/utilities";
import { createClient } from "graphql-ws";
// endregion
import { endOfWords, itemIds, jobId, onWord, orderId, tell, token, url, workspaceId, wsUrl } from "./given.mjs";
import { resuming } from "./resuming.mjs";

const schemaFile = new URL("../../../schema/schema.graphql", import.meta.url);

// region: possible types

const schema = buildSchema(readFileSync(schemaFile, "utf8"));
const possibleTypes = Object.fromEntries(
  Object.values(schema.getTypeMap())
    .filter((type) => isAbstractType(type) && !type.name.startsWith("__"))
    .map((type) => [type.name, schema.getPossibleTypes(type).map(({ name }) => name)]),
);
// endregion

// region: client

const credentials = () => ({ Authorization: `Bearer ${token}`, "X-Workspace-Id": workspaceId });
const socket = createClient({ url: wsUrl, connectionParams: credentials });
const authorized = new SetContextLink(({ headers }) => ({ headers: { ...credentials(), ...headers } }));

const client = new ApolloClient({
  link: ApolloLink.split(
    ({ query }) => getMainDefinition(query).operation === "subscription",
    new GraphQLWsLink(resuming(socket)),
    authorized.concat(new HttpLink({ uri: url })),
  ),
  cache: new InMemoryCache({
    possibleTypes,
    typePolicies: {
      Query: { fields: { robotJobs: relayStylePagination(["filter"]), orders: relayStylePagination(["filter"]) } },
      RobotJob: { fields: { items: relayStylePagination(["filter"]) } },
    },
  }),
});
// endregion

// region: pages
const JOBS = gql`
  query Jobs($after: String) {
    robotJobs(first: 2, after: $after) {
      edges { cursor node { id status totalItems } }
      pageInfo { hasNextPage endCursor }
    }
  }
`;
// endregion
const page = await client.query({ query: JOBS });
tell("page", { ids: idsOf(page.data) });
let allPagesShown;
const afterAllPages = new Promise((resolve) => (allPagesShown = resolve));

// region: pages
const jobs = client.watchQuery({ query: JOBS });
const shown = jobs.subscribe(({ data }) => show(data)); // each time with all pages so far
await jobs.fetchMore({ variables: { after: jobs.getCurrentResult().data.robotJobs.pageInfo.endCursor } });
// endregion
await afterAllPages;
shown.unsubscribe();

function idsOf(data) {
  return data.robotJobs.edges.map(({ node }) => node.id);
}

function show(data) {
  if (data.robotJobs.pageInfo.hasNextPage) return;
  tell("all pages", { ids: idsOf(data) });
  allPagesShown();
}

const NODE = gql`
  query Anything($id: ID!) {
    node(id: $id) { id ... on RobotJob { carrier status } }
  }
`;
tell("query", { data: (await client.query({ query: NODE, variables: { id: jobId } })).data });

// region: mutation
const REPORT = gql`
  mutation Report($input: UpdateJobItemResultInput!) {
    updateJobItemResult(input: $input) {
      ... on UpdateJobItemResultSuccess { item { id status trackingNumber } job { id successCount } }
      ... on Error { code message } # every typed error, also those that come later
    }
  }
`;

async function report(input) {
  const { data } = await client.mutate({ mutation: REPORT, variables: { input } });
  return data.updateJobItemResult; // Apollo Client asks for __typename by itself
}
// endregion
tell("mutation", { result: await report({ itemId: itemIds[0], status: "SUCCESS", trackingNumber: "TRK-apollo" }) });
tell("typed error", { result: await report({ itemId: orderId, status: "SUCCESS", trackingNumber: "TRK-apollo" }) });
// The cached item has changed with the mutation's answer; the job with it.
tell("cache", { item: client.cache.extract()[`RobotJobItem:${itemIds[0]}`] });

// region: errors
async function codesOf(operation) {
  try {
    await operation;
    return [];
  } catch (error) {
    if (!CombinedGraphQLErrors.is(error)) throw error; // no network, or an answer that is not GraphQL's
    return error.errors.map(({ extensions }) => extensions.code);
  }
}
// endregion
const context = { headers: { Authorization: "" } };
const nobody = client.query({ query: JOBS, context, fetchPolicy: "network-only" });
tell("nobody", { codes: await codesOf(nobody) });
tell("invalid document", { codes: await codesOf(client.query({ query: gql`{ nothing }` })) });

socket.on("connected", (_socket, _payload, isAgain) => isAgain && tell("reconnected"));
onWord(() => socket.terminate()); // the test has the connection cut

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
client.subscribe({ query: FOLLOW, variables: { jobId, after: "0" } }).subscribe({
  next: ({ data, error }) => (error ? failed(error) : completed(data.robotJobItemCompleted)),
  complete: finished, // the job has ended, and all has been told; what is in the cache is up to date
});
// endregion

function failed(error) {
  tell("failed", { error: String(error) });
}

function completed(completion) {
  tell("completion", { completion });
}

function finished() {
  tell("finished", { job: client.cache.extract()[`RobotJob:${jobId}`] });
  socket.dispose();
  client.stop();
  endOfWords();
}
