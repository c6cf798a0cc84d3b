// region: resuming
/**
 * graphql-ws subscribes again by itself when the socket broke, with the variables as they are by then: `after` is kept
 * at the last cursor seen, so nothing is missed and nothing comes twice.
 */
export function resuming(client) {
  return {
    ...client,
    subscribe(payload, sink) {
      const variables = { ...payload.variables };
      return client.subscribe({ ...payload, variables }, {
        next(result) {
          const cursor = result.data?.robotJobItemCompleted?.cursor;
          if (cursor) variables.after = cursor;
          sink.next(result);
        },
        error: (error) => sink.error(error),
        complete: () => sink.complete(),
      });
    },
  };
}
// endregion
