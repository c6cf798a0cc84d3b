// region: documents
import { graphql } from "relay-runtime";

export const jobs = graphql`
  query JobBoardQuery($first: Int!, $after: String) {
    ...JobBoard_jobs @arguments(first: $first, after: $after)
  }
`;

export const jobsFragment = graphql`
  fragment JobBoard_jobs on Query
  @argumentDefinitions(
    first: { type: "Int", defaultValue: 20 }
    after: { type: "String" }
    filter: { type: "RobotJobFilter" }
  )
  @refetchable(queryName: "JobBoardPageQuery") {
    robotJobs(first: $first, after: $after, filter: $filter) @connection(key: "JobBoard_robotJobs", filters: ["filter"]) {
      edges {
        node {
          id
          ...JobBoard_job
        }
      }
    }
  }
`;

export const jobFragment = graphql`
  fragment JobBoard_job on RobotJob {
    id
    status
    progress { percent itemsPerMinute estimatedCompletionAt }
  }
`;
// endregion
