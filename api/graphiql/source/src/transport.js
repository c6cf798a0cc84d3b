// Carries operations: queries and mutations by HTTP POST, subscriptions over a graphql-transport-ws socket, both to the
// address of this page.

import { getOperationAST, parse } from "graphql";
import { createClient } from "graphql-ws";
import { withoutBlanks } from "./headers.js";

const HTTP_URL = window.location.origin + window.location.pathname;
const WS_URL = HTTP_URL.replace(/^http/, "ws");
const ANSWER_EXCERPT_LENGTH = 300;

/**
 * `currentHeaders` serves the schema request, which GraphiQL may send before its headers editor exists.
 * `onSchemaRefused` hears of each schema request: why it failed ({ message, status, isUnauthenticated }; status 0 is no
 * answer at all), or null.
 */
export function createFetcher({ currentHeaders, onSchemaRefused }) {
  return async (request, options) => {
    const headers = withoutBlanks(options?.headers ?? currentHeaders());
    if (request.operationName === "IntrospectionQuery") {
      return fetchSchema(request, headers, onSchemaRefused);
    }
    if (isSubscription(request)) return subscribe(request, headers);
    return (await post(request, headers)).result;
  };
}

async function fetchSchema(request, headers, onSchemaRefused) {
  const { result, status } = await post(request, headers);
  if (result?.data?.__schema) {
    onSchemaRefused(null);
    return result;
  }
  const error = result?.errors?.[0];
  const message = error?.message ?? "The answer holds no schema.";
  const isUnauthenticated = status === 401 || status === 403 || error?.extensions?.code === "UNAUTHENTICATED";
  onSchemaRefused({ message, status, isUnauthenticated });
  throw { message }; // not an Error: GraphiQL prints what it catches, stack and all
}

/** Never throws: what cannot be sent or read comes back in GraphQL's own form of an error. */
async function post(request, headers) {
  let response;
  let text;
  try {
    response = await fetch(HTTP_URL, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/graphql-response+json, application/json;q=0.9",
        ...headers,
      },
      body: JSON.stringify(request),
    });
    text = await response.text();
  } catch (error) {
    return { status: 0, result: failure(`The request to ${HTTP_URL} did not go through: ${error.message}.`) };
  }
  const { status } = response;
  try {
    const result = JSON.parse(text);
    // A gateway or the framework may refuse in JSON that is no GraphQL answer; show it as it came.
    if (!response.ok && !result?.errors) return { status, result: failure(`HTTP ${status}: ${excerpt(text)}`) };
    return { status, result };
  } catch {
    return { status, result: failure(`HTTP ${status}, and the answer is not JSON: ${excerpt(text)}`) };
  }
}

function failure(message) {
  return { errors: [{ message }] };
}

function excerpt(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > ANSWER_EXCERPT_LENGTH ? `${line.slice(0, ANSWER_EXCERPT_LENGTH)} …` : line || "(empty)";
}

function isSubscription({ query, operationName }) {
  try {
    return getOperationAST(parse(query), operationName)?.operation === "subscription";
  } catch {
    return false; // The server says what is wrong with the text.
  }
}

let socket = null; // { client, key }: the headers are part of the connection, so other headers need another socket

function socketFor(headers) {
  const key = JSON.stringify(headers);
  if (socket?.key !== key) {
    socket?.client.dispose();
    // No silent reconnection: running the same text again would begin again at its `after` cursor.
    const client = createClient({ url: WS_URL, connectionParams: headers, retryAttempts: 0, keepAlive: 15_000 });
    socket = { client, key };
  }
  return socket.client;
}

function subscribe(request, headers) {
  return {
    subscribe(observer) {
      const unsubscribe = socketFor(headers).subscribe(request, {
        next: (result) => observer.next(result),
        complete: () => observer.complete(),
        error: (error) => {
          observer.next(Array.isArray(error) ? { errors: error } : failure(socketFailure(error)));
          observer.complete();
        },
      });
      return { unsubscribe };
    },
  };
}

function socketFailure(error) {
  if (typeof error?.code === "number" && error.code !== 1006) {
    return `The WebSocket to ${WS_URL} closed with code ${error.code}${error.reason ? `: ${error.reason}` : ""}.`;
  }
  // A browser does not tell why a handshake failed, and calls every broken line 1006.
  const detail = error instanceof Error ? error.message : "the server refused it, or the line was cut";
  return `The WebSocket to ${WS_URL} failed: ${detail}.`;
}
