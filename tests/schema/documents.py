"""The operations that the tests send, as a client would write them."""

FAILED = """
fragment Failed on Error { code message ... on InvalidInput { problems { path message } } }"""

CREATE = (
    """mutation ($input: CreateRobotJobInput!) { createRobotJob(input: $input) { __typename ...Failed
        ... on CreateRobotJobSuccess {
            job { id status carrier jobType totalItems successCount errorCount cancelledCount idempotencyKey createdBy }
            duplicateOrderIds moreAreReady refused { ...Refused } warned { ...Refused }
        }
        ... on IdempotencyKeyInUse { job { id status idempotencyKey } }
        ... on OrdersRefused { refused { ...Refused } }
    } }
    fragment Refused on OrderProblems { orderId reference problems { code message isWarning jobId } }"""
    + FAILED
)
REPORT = (
    """mutation ($input: UpdateJobItemResultInput!) { updateJobItemResult(input: $input) { __typename ...Failed
        ... on UpdateJobItemResultSuccess {
            item { id status attempt trackingNumber carrierGuideNumber errorType errorMessage }
            job { id status successCount errorCount }
            replayed
        }
        ... on StaleAttempt { item { id status attempt reviewReason } }
        ... on ResultConflict { item { id status attempt trackingNumber reviewReason } }
    } }"""
    + FAILED
)
REPORT_MANY = (
    """mutation ($input: UpdateJobItemResultsInput!) { updateJobItemResults(input: $input) { __typename ...Failed
        ... on UpdateJobItemResultsSuccess { results { __typename ...Failed
            ... on UpdateJobItemResultSuccess { item { id status trackingNumber } job { id successCount } replayed }
            ... on StaleAttempt { item { id attempt } }
            ... on ResultConflict { item { id trackingNumber } }
        } }
    } }"""
    + FAILED
)
SET_STATUS = (
    """mutation ($input: UpdateJobStatusInput!) { updateJobStatus(input: $input) { __typename ...Failed
        ... on UpdateJobStatusSuccess { job { id status error errorCount cancelledCount } }
        ... on InvalidTransition { job { id status } }
    } }"""
    + FAILED
)
RETRY = (
    """mutation ($input: RetryFailedItemsInput!) { retryFailedItems(input: $input) { __typename ...Failed
        ... on RetryFailedItemsSuccess {
            job { id status errorCount }
            items { id status attempt retryCount errorType errorMessage }
            skipped { itemId status message }
        }
        ... on ItemsNotRetryable { refused { itemId status message } job { id status } }
        ... on IdempotencyKeyInUse { job { id status } }
        ... on InvalidTransition { job { id status } }
    } }"""
    + FAILED
)
CLAIM = (
    """mutation ($input: ClaimJobItemsInput!) { claimJobItems(input: $input) { __typename ...Failed
        ... on ClaimJobItemsSuccess {
            workspaceId
            items {
                leaseToken expiresAt
                item { id status attempt valueSent leasedBy leaseExpiresAt submittedAt reservedNumber }
            }
            credentials { username password } heldBack leaseSeconds
        }
    } }"""
    + FAILED
)
RENEW = (
    """mutation ($input: RenewLeasesInput!) { renewLeases(input: $input) { __typename ...Failed
        ... on RenewLeasesSuccess { leases { itemId state expiresAt } }
    } }"""
    + FAILED
)
RELEASE = (
    """mutation ($input: ReleaseJobItemsInput!) { releaseJobItems(input: $input) { __typename ...Failed
        ... on ReleaseJobItemsSuccess { leases { itemId state } }
    } }"""
    + FAILED
)
RESUME_ACCOUNT = (
    """mutation ($input: ResumeCarrierAccountInput!) { resumeCarrierAccount(input: $input) { __typename ...Failed
        ... on ResumeCarrierAccountSuccess { pause { reason message since probeAt } }
    } }"""
    + FAILED
)
MARK = (
    """mutation ($input: MarkItemSubmittingInput!) { markItemSubmitting(input: $input) { __typename ...Failed
        ... on MarkItemSubmittingSuccess { item { id status submittedAt reservedNumber } }
    } }"""
    + FAILED
)
CANCEL = (
    """mutation ($input: CancelRobotJobInput!) { cancelRobotJob(input: $input) { __typename ...Failed
        ... on CancelRobotJobSuccess { job { id status cancelledCount cancelRequestedAt error } }
        ... on InvalidTransition { job { id status } }
    } }"""
    + FAILED
)
RESOLVE = (
    """mutation ($input: ResolveUnknownOutcomeInput!) { resolveUnknownOutcome(input: $input) { __typename ...Failed
        ... on ResolveUnknownOutcomeSuccess {
            item { id status trackingNumber outcomeUnknown
                attempts { attempt status submittedAt resolution resolvedBy resolutionReason resolvedAt } }
            job { id status successCount errorCount } replayed
        }
        ... on OutcomeNotOpen { item { id status outcomeUnknown } }
    } }"""
    + FAILED
)
IMPORT = (
    """mutation ($input: ImportOrdersInput!) { importOrders(input: $input) { __typename ...Failed
        ... on ImportOrdersSuccess {
            createdCount updatedCount unchangedCount
            imported { line outcome order { id reference city } }
            refused { line reference problem column message }
        }
    } }"""
    + FAILED
)
UPDATE_ORDER = (
    """mutation ($input: UpdateOrderInput!) { updateOrder(input: $input) { __typename ...Failed
        ... on UpdateOrderSuccess {
            order { id reference city totalCop stage carrier trackingNumber archivedAt }
            changedFields
        }
    } }"""
    + FAILED
)
CONFIG_FIELDS = """
fragment Config on CarrierConfig { id carrier username isEnabled dispatchStage hasPassword passwordUpdatedAt
    maxConcurrentLeases
    createdAt updatedAt updatedBy
    shippingDefaults { declaredValueCop weightKg heightCm lengthCm widthCm reference
        unitsByTotal { fromTotalCop units } } }"""
UPSERT_CONFIG = (
    """mutation ($input: UpsertCarrierConfigInput!) { upsertCarrierConfig(input: $input) { __typename ...Failed
        ... on UpsertCarrierConfigSuccess { config { ...Config } }
    } }"""
    + FAILED
    + CONFIG_FIELDS
)
DELETE_CONFIG = (
    """mutation ($input: DeleteCarrierConfigInput!) { deleteCarrierConfig(input: $input) { __typename ...Failed
        ... on DeleteCarrierConfigSuccess { config { carrier username } }
    } }"""
    + FAILED
)
CREATE_KEY = (
    """mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { __typename ...Failed
        ... on CreateApiKeySuccess {
            apiKey { id name prefix carriers createdBy createdAt expiresAt revokedAt lastUsedAt }
            secret
        }
    } }"""
    + FAILED
)
REVOKE_KEY = (
    """mutation ($input: RevokeApiKeyInput!) { revokeApiKey(input: $input) { __typename ...Failed
        ... on RevokeApiKeySuccess { apiKey { id revokedAt } }
    } }"""
    + FAILED
)

JOB = "query ($id: ID!) { robotJob(id: $id) { id status totalItems } }"
JOB_WITH_ITEMS = """query ($id: ID!, $filter: RobotJobItemFilter, $orderBy: RobotJobItemOrder, $first: Int,
    $after: String, $last: Int, $before: String) { robotJob(id: $id) {
    items(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
        nodes { id } edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } } }"""
JOBS = """query ($filter: RobotJobFilter, $orderBy: RobotJobOrder, $first: Int, $after: String, $last: Int,
    $before: String) {
    robotJobs(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
        nodes { id } edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }"""
ACTIVE_JOB = "{ activeRobotJob(carrier: COORDINADORA) { id } }"
ITEM = "query ($id: ID!) { robotJobItem(id: $id) { id status attempt } }"
ORDER = "query ($id: ID!) { order(id: $id) { id reference } }"
ORDERS = """query ($filter: OrderFilter, $orderBy: OrderOrder, $first: Int, $after: String, $last: Int,
    $before: String) {
    orders(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
        nodes { id reference } edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }"""
COVERAGE = """query ($search: String, $department: String, $supportsCod: Boolean, $first: Int, $after: String,
    $last: Int, $before: String) {
    carrierCoverage(carrier: COORDINADORA, search: $search, department: $department, supportsCod: $supportsCod,
        first: $first, after: $after, last: $last, before: $before) {
        nodes { carrierCity cityName department supportsCod municipality { daneCode name } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        totalCount
    } }"""
MUNICIPALITIES = """query ($search: String, $department: String, $first: Int, $after: String, $last: Int,
    $before: String) {
    municipalities(search: $search, department: $department, first: $first, after: $after, last: $last,
        before: $before) {
        nodes { daneCode name departmentCode departmentName }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        totalCount
    } }"""
NODE = "query ($id: ID!) { node(id: $id) { __typename id } }"
NODES = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
PREVIEW = """query ($input: PreviewDispatchInput!) { previewDispatch(input: $input) {
    okCount warningCount rejectedCount missingOrderIds
    orders { order { id } outcome carrierCity problems { code message isWarning suggestions } }
    } }"""
VALIDATE = """query ($input: ValidateCitiesInput!) { validateCities(input: $input) {
    results { reference outcome carrierCity problem message suggestions }
    } }"""
CONFIG = "query ($carrier: Carrier!) { carrierConfig(carrier: $carrier) { ...Config } }" + CONFIG_FIELDS
CONFIGS = "{ carrierConfigs { ...Config } }" + CONFIG_FIELDS
VIEWER = """{ viewer { user { id } workspaces { id name role }
    apiKey { id name prefix carriers expiresAt revokedAt } } }"""
API_KEYS = """query ($first: Int, $after: String, $last: Int, $before: String) {
    apiKeys(first: $first, after: $after, last: $last, before: $before) {
        nodes { id name prefix carriers createdBy createdAt expiresAt revokedAt lastUsedAt }
        edges { cursor node { id } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }"""

FOLLOW_ITEMS = """subscription ($jobId: ID!, $after: String) { robotJobItemCompleted(jobId: $jobId, after: $after) {
    cursor
    item { id status attempt trackingNumber errorType }
    job { id status totalItems successCount errorCount cancelledCount }
    } }"""
FOLLOW_BOARD = """subscription ($filter: RobotJobFilter) { robotJobsChanged(filter: $filter) {
    jobs { id status totalItems successCount errorCount } leftIds isSnapshot
    } }"""
FOLLOW_PROGRESS = """subscription ($jobId: ID!) { robotJobProgress(jobId: $jobId) {
    id status successCount errorCount progress { pending processing done percent }
    } }"""
