"""The GraphQL documents of the robot, written once and parsed once."""

from gql import GraphQLRequest, gql

_REFUSAL = """
fragment Refusal on Error { __typename code message ... on InvalidInput { problems { path message } } }
"""

CLAIM: GraphQLRequest = gql(
    _REFUSAL
    + """
mutation ClaimJobItems($input: ClaimJobItemsInput!) {
  claimJobItems(input: $input) {
    __typename
    ... on ClaimJobItemsSuccess {
      workspaceId
      items {
        leaseToken
        expiresAt
        item { id attempt valueSent reservedNumber submittedAt errorType }
      }
      credentials { username password }
      heldBack
      leaseSeconds
    }
    ...Refusal
  }
}
"""
)

RENEW: GraphQLRequest = gql(
    _REFUSAL
    + """
mutation RenewLeases($input: RenewLeasesInput!) {
  renewLeases(input: $input) {
    __typename
    ... on RenewLeasesSuccess { leases { itemId state } }
    ...Refusal
  }
}
"""
)

MARK: GraphQLRequest = gql(
    _REFUSAL
    + """
mutation MarkItemSubmitting($input: MarkItemSubmittingInput!) {
  markItemSubmitting(input: $input) {
    __typename
    ... on MarkItemSubmittingSuccess { item { id submittedAt } }
    ...Refusal
  }
}
"""
)

RELEASE: GraphQLRequest = gql(
    _REFUSAL
    + """
mutation ReleaseJobItems($input: ReleaseJobItemsInput!) {
  releaseJobItems(input: $input) {
    __typename
    ... on ReleaseJobItemsSuccess { leases { itemId state } }
    ...Refusal
  }
}
"""
)

REPORT: GraphQLRequest = gql(
    _REFUSAL
    + """
mutation UpdateJobItemResults($results: [UpdateJobItemResultInput!]!) {
  updateJobItemResults(input: { results: $results }) {
    __typename
    ... on UpdateJobItemResultsSuccess {
      results {
        __typename
        ... on UpdateJobItemResultSuccess { replayed }
        ...Refusal
      }
    }
    ...Refusal
  }
}
"""
)

RESOLVE: GraphQLRequest = gql(
    _REFUSAL
    + """
mutation ResolveUnknownOutcome($input: ResolveUnknownOutcomeInput!) {
  resolveUnknownOutcome(input: $input) {
    __typename
    ... on ResolveUnknownOutcomeSuccess { replayed }
    ...Refusal
  }
}
"""
)

ORDER_REFERENCE: GraphQLRequest = gql("""
query OrderReference($itemId: ID!) {
  robotJobItem(id: $itemId) { id order { reference } }
}
""")
