// The page: GraphiQL, joined to the API by transport.js, filled in from the address's fragment.

import "graphiql/style.css";
import "./page.css";

import { GraphiQL } from "graphiql";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import { DEFAULT_QUERY } from "./default_query.js";
import { takeFragment } from "./fragment.js";
import { mergeHeaders, parseHeaders, recallHeaders, rememberHeaders } from "./headers.js";
import { createFetcher } from "./transport.js";

const HEADERS_SETTLE_MS = 400;

function start() {
  const fragment = takeFragment();
  const headers = fragment ? mergeHeaders(recallHeaders(), fragment.headers) : recallHeaders();
  rememberHeaders(headers);
  return { headers, query: fragment?.query ?? undefined };
}

function Page({ initial }) {
  const [filledIn, setFilledIn] = useState({ query: initial.query }); // a change puts its text into the editors
  const [headers, setHeaders] = useState(initial.headers);
  const [refusal, setRefusal] = useState(null);
  const [schemaAttempt, setSchemaAttempt] = useState(0);
  const latestHeaders = useRef(initial.headers);
  const refusedHeaders = useRef(null);

  const editHeaders = useCallback((text) => {
    latestHeaders.current = text;
    rememberHeaders(text);
    setHeaders(text);
  }, []);

  // A new identity makes GraphiQL ask for the schema again.
  const fetcher = useMemo(
    () =>
      createFetcher({
        currentHeaders: () => parseHeaders(latestHeaders.current),
        onSchemaRefused: (error) => {
          refusedHeaders.current = error && JSON.stringify(parseHeaders(latestHeaders.current));
          setRefusal(error);
        },
      }),
    [schemaAttempt],
  );
  const askAgain = useCallback(() => setSchemaAttempt((attempt) => attempt + 1), []);

  useEffect(() => {
    const values = parseHeaders(headers);
    if (!refusal || values === undefined || JSON.stringify(values) === refusedHeaders.current) return undefined;
    const timer = setTimeout(askAgain, HEADERS_SETTLE_MS);
    return () => clearTimeout(timer);
  }, [headers, refusal, askAgain]);

  useEffect(() => {
    const fillIn = () => {
      const fragment = takeFragment();
      if (!fragment) return;
      const text = mergeHeaders(latestHeaders.current, fragment.headers);
      editHeaders(text);
      setFilledIn((before) => ({ headers: text, query: fragment.query ?? before.query }));
      askAgain();
    };
    window.addEventListener("hashchange", fillIn);
    return () => window.removeEventListener("hashchange", fillIn);
  }, [editHeaders, askAgain]);

  return (
    <>
      {refusal && <Refusal refusal={refusal} onRetry={askAgain} />}
      <GraphiQL
        fetcher={fetcher}
        query={filledIn.query}
        headers={filledIn.headers}
        defaultQuery={DEFAULT_QUERY}
        defaultHeaders={headers}
        defaultEditorToolsVisibility="headers"
        shouldPersistHeaders={false}
        onEditHeaders={editHeaders}
      >
        <GraphiQL.Logo>
          <span className="page-logo">Robot jobs</span>
        </GraphiQL.Logo>
      </GraphiQL>
    </>
  );
}

function Refusal({ refusal, onRetry }) {
  return (
    <div className="page-refusal" role="alert">
      <p>
        <strong>{refusalTitle(refusal)}</strong> {refusal.message}{" "}
        {refusal.isUnauthenticated ? (
          <>
            Put a valid token into <b>Headers</b>, below the query: <code>{'{"Authorization": "Bearer …"}'}</code>. The
            schema is then loaded by itself.
          </>
        ) : (
          "Operations can still be written and run; completion and documentation need the schema."
        )}
      </p>
      <button type="button" onClick={onRetry}>
        Try again
      </button>
    </div>
  );
}

function refusalTitle({ status, isUnauthenticated }) {
  if (isUnauthenticated) return `The API did not accept the credentials (${status}).`;
  if (status === 0) return "The API did not answer.";
  return `The API did not give its schema (${status}).`;
}

const place = document.getElementById("graphiql");
const root = createRoot(place, { onUncaughtError: (error) => window.graphiqlFailed(error) });
place.replaceChildren();
place.dataset.state = "ready";
root.render(<Page initial={start()} />);
