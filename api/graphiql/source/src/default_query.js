export const DEFAULT_QUERY = `# Run: Ctrl-Enter.  Complete a name: Ctrl-Space.
# Your token goes into Headers, below.

query LatestRobotJobs {
  robotJobs(first: 5) {
    edges {
      node {
        id status totalItems
        successCount errorCount
      }
    }
  }
}

# Follow a job live: uncomment (select, Ctrl-/),
# put in a job's id, run. after: "0" tells all
# from the start; the last cursor you saw goes on
# from there.
#
# subscription FollowRobotJob {
#   robotJobItemCompleted(jobId: "...", after: "0") {
#     cursor
#     item { id status trackingNumber errorMessage }
#     job { successCount errorCount totalItems }
#   }
# }
`;
