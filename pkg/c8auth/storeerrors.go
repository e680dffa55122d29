package c8auth

// Errors of Secrets Manager and of the SDK.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// awsErrors are the error codes of AWS that are shown. Another string could be a secret.
var awsErrors = []string{
	"AccessDeniedException", "DecryptionFailure", "EncryptionFailure", "ExpiredTokenException", "IncompleteSignature",
	"InternalServiceError", "InvalidClientTokenId", "InvalidParameterException", "InvalidRequestException",
	"InvalidSignatureException", "LimitExceededException", "MissingAuthenticationToken", "PreconditionNotMetException",
	"RequestExpired", "ResourceExistsException", "ServiceUnavailable", "ThrottlingException", "UnrecognizedClientException",
	"ValidationException",
}

// storeError maps an error of the SDK to one of this package. Of AWS's response it shows only
// the error code, because a message could quote the request, which contains a token.
func storeError(ctx context.Context, op, name string, err error) error {
	var (
		notFound *types.ResourceNotFoundException
		invalid  *types.InvalidRequestException
		full     *types.LimitExceededException
		api      smithy.APIError
	)
	switch {
	case errors.As(err, &notFound) && strings.Contains(notFound.ErrorMessage(), "secret value"):
		return errNoValue
	case errors.As(err, &notFound):
		return explain(ErrUnknownTenant, "there is no secret %s: deploy the tenant's stack first, or check the name", name)
	case errors.As(err, &invalid) && strings.Contains(invalid.ErrorMessage(), "delet"): // "marked for deletion"
		return explain(ErrUnknownTenant, "%s is scheduled for deletion", name)
	case errors.As(err, &full):
		return explain(ErrQuota, "%s of %s: LimitExceededException: it was written about %d times in a day, because the tokens' lifetime is short or they keep being rejected; no token is requested until a write succeeds", op, name, maxVersions)
	case errors.As(err, &api) && api.ErrorCode() == "AccessDeniedException":
		return explain(ErrDenied, "%s of %s: AccessDeniedException: the function's role needs secretsmanager:%s on it, and the use of its KMS key if it has one of its own", op, name, op)
	case errors.As(err, &api) && slices.Contains(awsErrors, api.ErrorCode()):
		return explain(ErrUnavailable, "%s of %s: %s", op, name, api.ErrorCode())
	case errors.As(err, &api):
		return explain(ErrUnavailable, "%s of %s: an error without a known name", op, name)
	}
	var (
		answer *awshttp.ResponseError
		unsent *smithyhttp.RequestSendError
	)
	why := "was sent no request: are AWS credentials and a region configured?"
	switch {
	case errors.As(err, &unsent):
		why = oauth.DescribeError(err)
	case ctx.Err() != nil: // the deadline came during a pause between retries
		why = "kept failing or throttling until the deadline"
	case errors.As(err, &answer):
		why = fmt.Sprintf("gives an unreadable answer (HTTP %d)", answer.HTTPStatusCode())
	}
	return explain(ErrUnavailable, "%s of %s: Secrets Manager %s", op, name, why)
}
