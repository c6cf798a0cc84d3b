// region: environment
import { createClient } from "graphql-ws";
import { Environment, Network, Observable, RecordSource, Store } from "relay-runtime";
// endregion
import { createRequire } from "node:module";
import {
  commitMutation,
  createOperationDescriptor,
  fetchQuery,
  getSingularSelector,
  requestSubscription,
} from "relay-runtime";
import { itemIds, jobId, orderId, tell, token, url, workspaceId, wsUrl } from "./given.mjs";
import { resuming } from "./resuming.mjs";

// region: environment

const credentials = () => ({ Authorization: `Bearer ${token}`, "X-Workspace-Id": workspaceId });
const socket = createClient({ url: wsUrl, connectionParams: credentials });

async function ask({ text }, variables) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { ...credentials(), "Content-Type": "application/json", Accept: "application/graphql-response+json" },
    body: JSON.stringify({ query: text, variables }),
  });
  return answer.json();
}

function follow({ text }, variables) {
  return Observable.create((sink) => resuming(socket).subscribe({ query: text, variables }, sink));
}

const environment = new Environment({ network: Network.create(ask, follow), store: new Store(new RecordSource()) });
// endregion

const require = createRequire(import.meta.url);

/** What relay-compiler made of the document with that name. */
const artifact = (name) => require(`${process.env.ARTIFACTS}/${name}.graphql.js`);

/** What a component with that fragment would get, as a hook reads it from the store. */
function fragmentData(fragment, owner) {
  return environment.lookup(getSingularSelector(fragment, owner)).data;
}

async function ran(name, variables) {
  const query = artifact(name);
  await fetchQuery(environment, query, variables).toPromise();
  return environment.lookup(createOperationDescriptor(query, variables).fragment).data;
}

// The board: two pages of jobs, merged by Relay into one connection.
const jobsFragment = artifact("JobBoard_jobs");
const jobFragment = artifact("JobBoard_job");
const board = await ran("JobBoardQuery", { first: 2 });
const firstPage = fragmentData(jobsFragment, board).robotJobs;
await ran("JobBoardPageQuery", { first: 2, after: firstPage.pageInfo.endCursor });
const { edges, pageInfo } = fragmentData(jobsFragment, board).robotJobs;
tell("jobs", {
  first: firstPage.edges.map(({ node }) => node.id),
  all: edges.map(({ node }) => node.id),
  hasNextPage: pageInfo.hasNextPage,
  progress: fragmentData(jobFragment, edges[0].node).progress,
});

// A job's items: the second page is asked for through node(id:).
const itemsFragment = artifact("JobPage_items");
const page = await ran("JobPageQuery", { id: jobId });
const { endCursor } = fragmentData(itemsFragment, page.robotJob).items.pageInfo;
await ran("JobPageItemsQuery", { id: jobId, first: 2, after: endCursor });
const items = () => fragmentData(itemsFragment, page.robotJob).items.edges.map(({ node }) => node);
tell("items", { items: items() });

function committed(name, input) {
  const mutation = artifact(name);
  return new Promise((resolve, reject) => {
    commitMutation(environment, { mutation, variables: { input }, onCompleted: resolve, onError: reject });
  });
}

const success = { itemId: itemIds[0], status: "SUCCESS", trackingNumber: "TRK-relay" };
tell("mutation", { result: (await committed("JobPageReportMutation", success)).updateJobItemResult });
const nothing = { ...success, itemId: orderId };
tell("typed error", { result: (await committed("JobPageReportMutation", nothing)).updateJobItemResult });

function followed(name, variables, told) {
  const subscription = artifact(name);
  return new Promise((resolve, reject) => {
    requestSubscription(environment, {
      subscription,
      variables,
      onNext: told,
      onError: reject,
      onCompleted: resolve,
    });
  });
}

const completions = followed("JobPageFollowSubscription", { jobId, after: "0" }, (data) =>
  tell("completion", { completion: data.robotJobItemCompleted }),
);
const progress = followed("JobPageProgressSubscription", { jobId }, (data) =>
  tell("progress", { job: data.robotJobProgress }),
);
tell("cancelled", { result: (await committed("JobPageStatusMutation", { jobId, status: "CANCELLED" })).updateJobStatus });
await Promise.all([completions, progress]);
// What the mutations and subscriptions brought is in the pages that were read before.
tell("finished", { items: items() });
socket.dispose();
