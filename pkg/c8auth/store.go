package c8auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

const (
	awsCurrent  = "AWSCURRENT"
	awsPrevious = "AWSPREVIOUS"

	// storeAttempt bounds one HTTP exchange with Secrets Manager, so that one that
	// hangs leaves the SDK time to try again.
	storeAttempt = 3 * time.Second
	// storeAttempts bounds the exchanges of one call. It is the deadline that ends a call:
	// the token in hand may be the only valid one.
	storeAttempts = 100
	// The pause after a failed exchange doubles from storePause, or from throttlePause
	// after throttling, up to maxPause, and is shortened by up to a half at random. So a
	// call makes no more than six requests in its first second, and one a second after that,
	// however many sandboxes there are and whatever Secrets Manager does.
	storePause    = 50 * time.Millisecond
	throttlePause = time.Second
	maxPause      = 2 * time.Second
	// maxVersions is about how many versions a secret can have.
	maxVersions = 100
	// settled is the age at which a version is known to every replica of the store.
	settled = time.Minute
)

// Store is the two secrets of each tenant, in AWS Secrets Manager. It may be used
// concurrently, by reader and writer in different processes.
type Store struct {
	Client *secretsmanager.Client
	Stack  string // prefix of the secrets' names
}

// Open reads the settings from the environment and opens the Store. The error is an
// [ErrSettings].
func Open(ctx context.Context) (Settings, *Store, error) {
	settings, err := ReadSettings(os.LookupEnv)
	if err != nil {
		return Settings{}, nil, err
	}
	store, err := OpenStore(ctx, settings.Stack)
	return settings, store, err
}

// OpenStore returns the Store of the ambient AWS configuration: region, credentials
// and endpoint of the environment. It does not call AWS. The error is an [ErrSettings].
func OpenStore(ctx context.Context, stack string) (*Store, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(storeAttempt)))
	if err != nil { // which may quote a file, or a variable
		return nil, explain(ErrSettings, "the AWS configuration cannot be read: check the variables AWS_* and the files that they name")
	}
	if cfg.RetryMaxAttempts == 0 { // AWS_MAX_ATTEMPTS is not set
		cfg.RetryMaxAttempts = storeAttempts
	}
	cfg.Retryer = newRetryer
	return &Store{secretsmanager.NewFromConfig(cfg), stack}, nil
}

// newRetryer is the SDK's standard one, but for the pauses; for its quota of retries,
// because a function that was warm while the store failed would have used it up; and for
// LimitExceededException, which the SDK takes for throttling, and which lasts for hours.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.Backoff = retry.BackoffDelayerFunc(storeBackoff)
		o.RateLimiter = ratelimit.None
		o.Retryables = slices.Insert(o.Retryables, 0, retry.IsErrorRetryable(retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if _, full := errors.AsType[*types.LimitExceededException](err); full {
				return aws.FalseTernary
			}
			return aws.UnknownTernary
		})))
	})
}

var isThrottle = retry.IsErrorThrottles(retry.DefaultThrottles)

// storeBackoff returns the pause after the nth exchange of a call, which failed with err.
func storeBackoff(n int, err error) (time.Duration, error) {
	full := storePause
	if isThrottle.IsErrorThrottle(err).Bool() {
		full = throttlePause
	}
	return jitter(min(maxPause, full<<min(n-1, 10))), nil
}

func (s *Store) credentialsName(tenant string) string { return s.Stack + "/credentials/" + tenant }
func (s *Store) tokenName(tenant string) string       { return s.Stack + "/token/" + tenant }

// Token returns the tenant's stored token and the version id of the secret that
// holds it. The error is an [ErrUnknownTenant], an [ErrNoToken], an [ErrUnreadable]
// (the version is returned nevertheless) or an [ErrUnavailable]. Whether the token
// is alive is not looked at.
func (s *Store) Token(ctx context.Context, tenant string) (token Token, version string, err error) {
	value, err := s.get(ctx, s.tokenName(tenant), awsCurrent, "")
	if errors.Is(err, errNoValue) {
		return Token{}, "", ErrNoToken
	}
	if err != nil {
		return Token{}, "", err
	}
	token, err = ParseToken([]byte(value.text))
	return token, value.version, err
}

// PutToken stores the token as AWSCURRENT and returns the version id that it got.
// replaces is the version that it is to take the place of, empty if there was none.
//
// The new version's id is derived from the one it replaces. Secrets Manager takes
// an id once, so of two writers that replace the same version one wins; the other
// gets [ErrLostRace] and has changed nothing. The same call repeated, because its
// answer was lost, succeeds. [ErrQuota] has changed nothing either. Any other failure is
// an [ErrUnavailable] or an [ErrUnknownTenant]; then the token may have been written or not.
func (s *Store) PutToken(ctx context.Context, tenant string, token Token, replaces string) (version string, err error) {
	name := s.tokenName(tenant)
	value, err := token.encode()
	if err != nil {
		return "", explain(ErrUnreadable, "it cannot be encoded")
	}
	// An id may be taken although nobody else is writing: somebody has moved
	// AWSCURRENT back by hand to a version that had been replaced before. Then
	// AWSCURRENT is still on that version, and AWSPREVIOUS on the one that it was moved
	// from; or the version of that id is old. The next id is as good. Otherwise the
	// labels come from a replica that lags behind.
	for n := range maxVersions {
		id := versionID(name, replaces, n)
		out, err := s.Client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &name, ClientRequestToken: &id, SecretString: &value,
		})
		var taken *types.ResourceExistsException
		switch {
		case err == nil && slices.Contains(out.VersionStages, awsCurrent):
			return id, nil
		case err != nil && !errors.As(err, &taken):
			return "", s.failure(ctx, "PutSecretValue", name, err)
		}
		labels, err := s.labels(ctx, name)
		if err != nil {
			return "", err
		}
		if labels[awsCurrent] != replaces {
			return "", ErrLostRace
		}
		if labels[awsPrevious] == id {
			continue
		}
		rival, err := s.get(ctx, name, "", id)
		if err != nil && !errors.Is(err, errNoValue) {
			return "", err
		}
		if now().Sub(rival.created) < settled {
			return "", ErrLostRace
		}
	}
	return "", explain(ErrUnavailable, "%s: every version id is taken", name)
}

// versionID is a UUID that anyone derives who replaces the same version of the same
// secret for the nth time.
func versionID(name, replaces string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", name, replaces, n))
	sum[6] = sum[6]&0x0f | 0x80 // version 8 of RFC 9562: by a scheme of one's own
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// CredentialsVersion returns the version id of the tenant's credentials without
// decrypting them, empty if none are stored. The error is an [ErrUnknownTenant] or
// an [ErrUnavailable].
func (s *Store) CredentialsVersion(ctx context.Context, tenant string) (string, error) {
	labels, err := s.labels(ctx, s.credentialsName(tenant))
	return labels[awsCurrent], err
}

// labels returns the version id of each staging label of a secret, all of one moment,
// without decrypting anything.
func (s *Store) labels(ctx context.Context, name string) (map[string]string, error) {
	out, err := s.Client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return nil, s.failure(ctx, "DescribeSecret", name, err)
	}
	if out.DeletedDate != nil {
		return nil, explain(ErrUnknownTenant, "%s is scheduled for deletion", name)
	}
	labels := make(map[string]string)
	for id, stages := range out.VersionIdsToStages {
		for _, stage := range stages {
			labels[stage] = id
		}
	}
	return labels, nil
}

// storedCredentials are credentials with what the store knows about them.
type storedCredentials struct {
	Credentials
	version string
	created time.Time
}

// credentials returns the tenant's credentials that bear the staging label stage.
// The error is an [ErrNoCredentials], [ErrCredentials], [ErrUnknownTenant] or
// [ErrUnavailable].
func (s *Store) credentials(ctx context.Context, tenant, stage string) (storedCredentials, error) {
	name := s.credentialsName(tenant)
	value, err := s.get(ctx, name, stage, "")
	if errors.Is(err, errNoValue) {
		return storedCredentials{}, ErrNoCredentials
	}
	if err != nil {
		return storedCredentials{}, err
	}
	c, err := ParseCredentials([]byte(value.text))
	if err != nil {
		return storedCredentials{}, fmt.Errorf("%s: %w", name, err)
	}
	return storedCredentials{c, value.version, value.created}, nil
}

// errNoValue: the secret exists, but no version of it has the label, or its value is empty.
var errNoValue = errors.New("no value")

type value struct {
	text    string
	version string
	created time.Time
}

// get reads the version that bears the label stage or, if that is empty, the version
// of that id.
func (s *Store) get(ctx context.Context, name, stage, version string) (value, error) {
	in := &secretsmanager.GetSecretValueInput{SecretId: &name}
	switch stage {
	case "":
		in.VersionId = &version
	case awsCurrent: // the default
	default:
		in.VersionStage = &stage
	}
	out, err := s.Client.GetSecretValue(ctx, in)
	if err != nil {
		return value{}, s.failure(ctx, "GetSecretValue", name, err)
	}
	if len(out.SecretBinary) == 0 && aws.ToString(out.SecretString) == "" {
		return value{}, errNoValue
	}
	// A binary value reads as an empty string, and nothing of ours is that.
	return value{aws.ToString(out.SecretString), aws.ToString(out.VersionId), aws.ToTime(out.CreatedDate).UTC()}, nil
}

// awsErrors are the names of AWS's errors that are shown. Any other string came from
// outside.
var awsErrors = []string{
	"AccessDeniedException", "DecryptionFailure", "EncryptionFailure", "ExpiredTokenException", "IncompleteSignature",
	"InternalServiceError", "InvalidClientTokenId", "InvalidParameterException", "InvalidRequestException",
	"InvalidSignatureException", "LimitExceededException", "MissingAuthenticationToken", "PreconditionNotMetException",
	"RequestExpired", "ResourceExistsException", "ServiceUnavailable", "ThrottlingException", "UnrecognizedClientException",
	"ValidationException",
}

// failure turns an error of the SDK into one of ours. Of what AWS answered it passes on
// the name of the error alone: a message could quote the request, and that holds a token.
func (s *Store) failure(ctx context.Context, op, name string, err error) error {
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
	why := "was not asked: are AWS credentials and a region configured?"
	switch {
	case errors.As(err, &unsent):
		why = oauth.DescribeError(err)
	case ctx.Err() != nil: // between two tries
		why = "fails or throttles, and kept doing so until the deadline"
	case errors.As(err, &answer):
		why = fmt.Sprintf("gives an unreadable answer (HTTP %d)", answer.HTTPStatusCode())
	}
	return explain(ErrUnavailable, "%s of %s: Secrets Manager %s", op, name, why)
}
