// region: documents
import { graphql } from "relay-runtime";

export const job = graphql`
  query JobPageQuery($id: ID!) {
    robotJob(id: $id) {
      status
      ...JobPage_items
    }
  }
`;

// The next page of items is asked for through node(id:).
export const itemsFragment = graphql`
  fragment JobPage_items on RobotJob
  @argumentDefinitions(first: { type: "Int", defaultValue: 2 }, after: { type: "String" })
  @refetchable(queryName: "JobPageItemsQuery") {
    items(first: $first, after: $after) @connection(key: "JobPage_items") {
      edges {
        node { id status trackingNumber order { reference } }
      }
    }
  }
`;

export const follow = graphql`
  subscription JobPageFollowSubscription($jobId: ID!, $after: String) {
    robotJobItemCompleted(jobId: $jobId, after: $after) {
      cursor
      item { id status trackingNumber errorType errorMessage }
      job { id status successCount errorCount }
    }
  }
`;

export const report = graphql`
  mutation JobPageReportMutation($input: UpdateJobItemResultInput!) {
    updateJobItemResult(input: $input) {
      __typename
      ... on UpdateJobItemResultSuccess { item { id status trackingNumber } job { id successCount } }
      ... on StaleAttempt { item { id attempt } }
      ... on Error { code message }
    }
  }
`;

export const end = graphql`
  mutation JobPageStatusMutation($input: UpdateJobStatusInput!) {
    updateJobStatus(input: $input) {
      ... on UpdateJobStatusSuccess { job { id status } }
      ... on Error { code message }
    }
  }
`;
// endregion

export const progress = graphql`
  subscription JobPageProgressSubscription($jobId: ID!) {
    robotJobProgress(jobId: $jobId) { id status progress { percent } failures { action count messages } }
  }
`;
