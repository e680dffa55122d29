package c8auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go/logging"
)

const (
	awsCurrent  = "AWSCURRENT"
	awsPrevious = "AWSPREVIOUS"

	// storeAttempt bounds one HTTP exchange with Secrets Manager, and leaves time for retries.
	storeAttempt = 3 * time.Second
	// storeAttempts bounds the exchanges of one call. It is so high that the deadline ends a
	// call that fails: the token to be stored may be the only valid one.
	storeAttempts = 100
	// The pause after a failed exchange doubles from storePause, or from throttlePause after
	// throttling, up to maxPause, and is shortened by up to a half at random. So a call makes
	// at most six requests in its first second and one a second after that, and many
	// processes together do not keep Secrets Manager throttled.
	storePause    = 50 * time.Millisecond
	throttlePause = time.Second
	maxPause      = 2 * time.Second
	// maxVersions is about the number of versions that a secret can have.
	maxVersions = 100
	// settled is the age at which every replica of the store knows a version.
	settled = time.Minute
)

// Store reads and writes the two secrets of each tenant in AWS Secrets Manager. It may be used
// concurrently, also by more than one process.
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

// OpenStore returns a Store with the AWS configuration of the environment: region, credentials
// and endpoint. It does not call AWS. The error is an [ErrSettings].
func OpenStore(ctx context.Context, stack string) (*Store, error) {
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(storeAttempt)),
		config.WithLogger(logging.Nop{})) // it would log what it cannot read, such as a Date
	if err != nil { // it may quote a file or a variable
		return nil, explain(ErrSettings, "the AWS configuration cannot be read: check the variables AWS_* and the files that they name")
	}
	if cfg.RetryMaxAttempts == 0 { // AWS_MAX_ATTEMPTS is not set
		cfg.RetryMaxAttempts = storeAttempts
	}
	cfg.Retryer = newRetryer
	return &Store{secretsmanager.NewFromConfig(cfg), stack}, nil
}

// newRetryer returns the SDK's standard retryer with three changes: the pauses; no quota of
// retries, as a process that was warm while the store failed would have used it up; and no
// retry of LimitExceededException, which the SDK takes for throttling, but lasts for hours.
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

// Token returns the tenant's stored token, which may have expired, and the version id of the
// secret. The error is an [ErrUnknownTenant], an [ErrNoToken], an [ErrUnreadable], with which
// the version is returned as well, or an [ErrUnavailable].
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

// PutToken stores the token as AWSCURRENT and returns its version id. replaces is the version
// that it replaces, empty if there is none.
//
// The new version's id is derived from the one that it replaces. Secrets Manager accepts an id
// once, so of two writers that replace the same version one wins; the other one gets
// [ErrLostRace] and has changed nothing. The same call repeated, because its answer was lost,
// succeeds. [ErrQuota] has changed nothing either. Any other error is an [ErrUnavailable] or an
// [ErrUnknownTenant]; then the token may have been written or not.
func (s *Store) PutToken(ctx context.Context, tenant string, token Token, replaces string) (version string, err error) {
	name := s.tokenName(tenant)
	value, err := token.encode()
	if err != nil {
		return "", explain(ErrUnreadable, "it cannot be encoded")
	}
	// An id may be taken although there is no other writer, if somebody has moved AWSCURRENT
	// back by hand to a version that had been replaced. Then AWSPREVIOUS is on the version of
	// that id, or that version is old, and the next id is as good. Otherwise AWSCURRENT seems
	// to be in its place only because the replica that was read lags behind.
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
			return "", storeError(ctx, "PutSecretValue", name, err)
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

// versionID returns the nth version id for a version that replaces another one of the same
// secret. It is the same UUID for every writer.
func versionID(name, replaces string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", name, replaces, n))
	sum[6] = sum[6]&0x0f | 0x80 // version 8 of RFC 9562: a custom scheme
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// CredentialsVersion returns the version id of the tenant's credentials, empty if none are
// stored, and does not decrypt them. The error is an [ErrUnknownTenant] or an [ErrUnavailable].
func (s *Store) CredentialsVersion(ctx context.Context, tenant string) (string, error) {
	labels, err := s.labels(ctx, s.credentialsName(tenant))
	return labels[awsCurrent], err
}

// labels returns the version ids by staging label, as they are at one moment. It decrypts
// nothing.
func (s *Store) labels(ctx context.Context, name string) (map[string]string, error) {
	out, err := s.Client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return nil, storeError(ctx, "DescribeSecret", name, err)
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

// storedCredentials are credentials with the version that holds them.
type storedCredentials struct {
	Credentials
	version string
	created time.Time
}

// credentials returns the tenant's credentials that have the staging label. The error is an
// [ErrNoCredentials], [ErrCredentials], [ErrUnknownTenant] or [ErrUnavailable]. They are read
// only when a token is due; otherwise a DescribeSecret tells which version is current.
func (s *Store) credentials(ctx context.Context, tenant, label string) (storedCredentials, error) {
	name := s.credentialsName(tenant)
	value, err := s.get(ctx, name, label, "")
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

// errNoValue: no version of the secret has the label, or its value is empty.
var errNoValue = errors.New("no value")

// value is a version of a secret.
type value struct {
	text    string
	version string
	created time.Time
}

// get reads the version that has the label or, without a label, the version of that id.
func (s *Store) get(ctx context.Context, name, label, version string) (value, error) {
	in := &secretsmanager.GetSecretValueInput{SecretId: &name}
	switch label {
	case "":
		in.VersionId = &version
	case awsCurrent: // the default
	default:
		in.VersionStage = &label
	}
	out, err := s.Client.GetSecretValue(ctx, in)
	if err != nil {
		return value{}, storeError(ctx, "GetSecretValue", name, err)
	}
	if len(out.SecretBinary) == 0 && aws.ToString(out.SecretString) == "" {
		return value{}, errNoValue
	}
	// A binary value is read as an empty string, which is neither a token nor credentials.
	return value{aws.ToString(out.SecretString), aws.ToString(out.VersionId), aws.ToTime(out.CreatedDate).UTC()}, nil
}
