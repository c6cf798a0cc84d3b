"""The GraphQL documents of the console, written once and parsed once."""

from gql import GraphQLRequest, gql

_JOB_STATE = """
fragment JobState on RobotJob { id status totalItems successCount errorCount cancelledCount }
"""

ACTIVE_JOB: GraphQLRequest = gql(
    _JOB_STATE
    + """
query ActiveRobotJob($carrier: Carrier!) {
  activeRobotJob(carrier: $carrier) { ...JobState }
}
"""
)

JOB: GraphQLRequest = gql(
    _JOB_STATE
    + """
query RobotJob($jobId: ID!) {
  robotJob(id: $jobId) { ...JobState failures { action errorType count messages } }
}
"""
)

JOB_ITEMS: GraphQLRequest = gql(
    _JOB_STATE
    + """
query RobotJobItems($jobId: ID!, $first: Int!, $after: String) {
  robotJob(id: $jobId) {
    ...JobState
    items(first: $first, after: $after) {
      nodes { id status attempt trackingNumber errorType errorMessage outcomeUnknown order { reference } }
      pageInfo { hasNextPage endCursor }
    }
  }
}
"""
)

IMPORT_ORDERS: GraphQLRequest = gql("""
mutation ImportOrders($csv: String!) {
  importOrders(input: { csv: $csv }) {
    __typename
    ... on ImportOrdersSuccess {
      createdCount
      updatedCount
      unchangedCount
      imported { order { id } }
      refused { line message }
    }
    ... on Error { code message }
    ... on InvalidInput { problems { path message } }
  }
}
""")

PREVIEW_DISPATCH: GraphQLRequest = gql("""
query PreviewDispatch($carrier: Carrier!, $orderIds: [ID!]!) {
  previewDispatch(input: { carrier: $carrier, orderIds: $orderIds }) {
    orders {
      outcome
      carrierCity
      order { id reference city department trackingNumber }
      problems { code message isWarning }
    }
  }
}
""")

CREATE_JOB: GraphQLRequest = gql(
    _JOB_STATE
    + """
mutation CreateRobotJob($carrier: Carrier!, $orderIds: [ID!]!, $key: String!) {
  createRobotJob(input: { carrier: $carrier, orderIds: $orderIds, idempotencyKey: $key }) {
    __typename
    ... on CreateRobotJobSuccess { job { ...JobState } }
    ... on Error { code message }
    ... on IdempotencyKeyInUse { job { ...JobState } }
    ... on OrdersRefused { refused { orderId problems { message } } }
    ... on InvalidInput { problems { path message } }
  }
}
"""
)

RETRY_FAILED: GraphQLRequest = gql(
    _JOB_STATE
    + """
mutation RetryFailedItems($jobId: ID!, $itemIds: [ID!]!) {
  retryFailedItems(input: { jobId: $jobId, itemIds: $itemIds }) {
    __typename
    ... on RetryFailedItemsSuccess { job { ...JobState } items { id } skipped { message } }
    ... on Error { code message }
    ... on ItemsNotRetryable { job { ...JobState } refused { message } }
    ... on InvalidInput { problems { path message } }
  }
}
"""
)

FOLLOW_COMPLETIONS: GraphQLRequest = gql(
    _JOB_STATE
    + """
subscription RobotJobItemCompleted($jobId: ID!, $after: String!) {
  robotJobItemCompleted(jobId: $jobId, after: $after) {
    cursor
    item { id status attempt trackingNumber errorType errorMessage }
    job { ...JobState }
  }
}
"""
)
