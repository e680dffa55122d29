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
	// storeAttempts bounds the exchanges of one call. It is so high that the deadline comes
	// first: the token to be stored may be the only valid one.
	storeAttempts = 100
	// The pause after a failed exchange starts at storePause, or throttlePause after throttling,
	// and doubles up to maxPause. Jitter shortens it by up to a half. So a call sends at most
	// six requests in its first second and then one a second, and many processes together do
	// not keep Secrets Manager throttled.
	storePause    = 50 * time.Millisecond
	throttlePause = time.Second
	maxPause      = 2 * time.Second
	// maxVersions is about the quota of versions of a secret.
	maxVersions = 100
	// settled is the age of a version at which every replica of Secrets Manager returns it.
	settled = time.Minute
)

// Store reads both secrets of each tenant in AWS Secrets Manager, and writes the token secret.
// It may be used concurrently, also by more than one process.
type Store struct {
	Client *secretsmanager.Client // must not be nil; see [OpenStore]
	Stack  string                 // prefix of the secrets' names
}

// Open is [ReadSettings] of the environment followed by [OpenStore]. The error is an
// [ErrSettings].
func Open(ctx context.Context) (Settings, *Store, error) {
	settings, err := ReadSettings(os.LookupEnv)
	if err != nil {
		return Settings{}, nil, err
	}
	store, err := OpenStore(ctx, settings.Stack)
	return settings, store, err
}

// OpenStore returns a Store that uses the AWS configuration of the environment: region,
// credentials and endpoint. It does not call AWS. The error is an [ErrSettings].
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

// newRetryer returns the SDK's standard retryer with three changes. The pauses are storeBackoff.
// There is no quota of retries, which an outage would leave used up in a warm process. And
// LimitExceededException is not retried: the SDK treats it as throttling, but it lasts for hours.
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

// Token returns the tenant's stored token, which may have expired, and its version, a VersionId
// of the token secret. The error is an [ErrUnknownTenant], [ErrNoToken], [ErrUnreadable] or
// [ErrUnavailable]. With an [ErrUnreadable] the version is returned as well.
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

// PutToken stores the token as AWSCURRENT and returns its version. replaces is the version that
// the token replaces, empty if there is none.
//
// The new VersionId is derived from the replaced one. Secrets Manager accepts each id once, so
// of two writers that replace the same version one succeeds. The same call may be repeated if
// its answer was lost.
//
// After an [ErrLostRace], which the other writer gets, the token is not the current one. After
// an [ErrQuota] or an [ErrUnreadable] (the token cannot be encoded), nothing was written. After
// an [ErrUnavailable] or an [ErrUnknownTenant], the token may have been written.
func (s *Store) PutToken(ctx context.Context, tenant string, token Token, replaces string) (version string, err error) {
	name := s.tokenName(tenant)
	value, err := token.encode()
	if err != nil {
		return "", explain(ErrUnreadable, "it cannot be encoded")
	}
	// An id can be taken without another writer, if a person has moved AWSCURRENT back to a
	// version that had been replaced. Then the version of that id has the label AWSPREVIOUS or
	// is old, and the next id is used. Otherwise another writer has just stored it, and the
	// replica that was read does not show that yet.
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

// versionID returns the nth id for the version that replaces another one of the secret. Every
// writer gets the same UUID.
func versionID(name, replaces string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", name, replaces, n))
	sum[6] = sum[6]&0x0f | 0x80 // version 8 of RFC 9562: a custom scheme
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// CredentialsVersion returns the VersionId of the tenant's credentials, empty if none are
// stored. It does not decrypt them. The error is an [ErrUnknownTenant] or an [ErrUnavailable].
func (s *Store) CredentialsVersion(ctx context.Context, tenant string) (string, error) {
	labels, err := s.labels(ctx, s.credentialsName(tenant))
	return labels[awsCurrent], err
}

// labels returns the secret's version ids by staging label. It decrypts nothing.
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
// [ErrNoCredentials], [ErrCredentials], [ErrUnknownTenant] or [ErrUnavailable]. It is called
// only when a new token is due, so that credentials are rarely decrypted.
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

// errNoValue: the secret has no such version, or that version is empty.
var errNoValue = errors.New("no value")

// value is a version of a secret.
type value struct {
	text    string
	version string
	created time.Time
}

// get returns the version of the secret that has the label. If label is empty, it returns the
// one with that id.
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
	// Of a binary value text is empty, which is neither a token nor credentials.
	return value{aws.ToString(out.SecretString), aws.ToString(out.VersionId), aws.ToTime(out.CreatedDate).UTC()}, nil
}
