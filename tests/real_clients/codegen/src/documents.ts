import { graphql } from "./gql";
import type { FollowSubscription, JobsQuery, RobotJobFilter } from "./gql/graphql";

export const Jobs = graphql(`
  query Jobs($filter: RobotJobFilter, $first: Int, $after: String) {
    robotJobs(filter: $filter, first: $first, after: $after) {
      edges { cursor node { ...JobCard } }
      pageInfo { hasNextPage endCursor }
    }
  }
  fragment JobCard on RobotJob {
    id
    carrier
    status
    createdAt
    progress { percent itemsPerMinute estimatedCompletionAt }
    failures { action errorType count messages }
  }
`);

export const Job = graphql(`
  query Job($id: ID!) {
    node(id: $id) { __typename id ... on RobotJob { items(first: 10) { nodes { id valueSent order { totalCop } } } } }
  }
`);

export const Follow = graphql(`
  subscription Follow($jobId: ID!, $after: String) {
    robotJobItemCompleted(jobId: $jobId, after: $after) { cursor item { id status } job { status successCount } }
  }
`);

export const UpdateOrder = graphql(`
  mutation UpdateOrder($input: UpdateOrderInput!) {
    updateOrder(input: $input) {
      __typename
      ... on UpdateOrderSuccess { changedFields order { id totalCop archivedAt } }
      ... on Error { code message }
    }
  }
`);

export const failed: RobotJobFilter = { status: ["FAILED"] };
// @ts-expect-error -- there is no such status
export const mistaken: RobotJobFilter = { status: ["LOST"] };

export function ids(page: JobsQuery): readonly string[] {
  return page.robotJobs.edges.map(({ node }) => node.id);
}

export function cursor(told: FollowSubscription): string {
  return told.robotJobItemCompleted.cursor;
}
