// region: results
import { graphql } from "./gql";
import type { ReportMutation } from "./gql/graphql";

export const Report = graphql(`
  mutation Report($input: UpdateJobItemResultInput!) {
    updateJobItemResult(input: $input) {
      __typename
      ... on UpdateJobItemResultSuccess { replayed item { id status trackingNumber } job { id successCount totalItems } }
      ... on StaleAttempt { message item { attempt } }
      ... on ResultConflict { message item { status trackingNumber } }
      ... on RobotJobItemNotFound { message }
      ... on InvalidInput { message problems { path message } }
      ... on Error { code message }
    }
  }
`);

/** The compiler knows every case, and says so when one is left out. */
export function inWords(result: ReportMutation["updateJobItemResult"]): string {
  switch (result.__typename) {
    case "UpdateJobItemResultSuccess":
      return `${result.job.successCount} of ${result.job.totalItems}: ${result.item.trackingNumber ?? "no number"}`;
    case "StaleAttempt":
      return `the item is at attempt ${result.item.attempt}`;
    case "ResultConflict":
      return `already ${result.item.status}`;
    case "InvalidInput":
      return result.problems.map(({ path, message }) => `${path}: ${message}`).join("; ");
    case "LeaseLost":
    case "RobotJobItemNotFound":
      return result.message;
    default:
      return result satisfies never;
  }
}
// endregion

export function forgetful(result: ReportMutation["updateJobItemResult"]): string {
  switch (result.__typename) {
    case "UpdateJobItemResultSuccess":
      return "done";
    default:
      // @ts-expect-error -- four cases are left, and the types must say so
      result satisfies never;
      return "not done";
  }
}
