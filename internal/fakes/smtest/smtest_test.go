package smtest_test

// What the tests share: a real client, and short ways to say what it got.

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// Tokens of the length that AWS asks for.
const (
	token1 = "11111111-1111-1111-1111-111111111111"
	token2 = "22222222-2222-2222-2222-222222222222"
	token3 = "33333333-3333-3333-3333-333333333333"
	token4 = "44444444-4444-4444-4444-444444444444"
)

var ctx = context.Background()

// connect is the real client of a store, over a socket.
func connect(t *testing.T, store *smtest.Server) *secretsmanager.Client {
	t.Helper()
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	return client(server.URL, server.Client())
}

// client retries twice, at once. It takes nothing from the environment.
func client(url string, httpClient aws.HTTPClient) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(url),
		HTTPClient:   httpClient,
		Region:       "eu-central-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "none"}, nil
		}),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		}),
	})
}

// must is for calls that are not what the test is about.
func must[T any](out T, err error) T {
	if err != nil {
		panic(err)
	}
	return out
}

// refusal is the error that AWS answered with, as "Type: message".
func refusal(err error) string {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return "no API error"
	}
	return api.ErrorCode() + ": " + api.ErrorMessage()
}

// labels are the versions that have any, as DescribeSecret shows them.
func labels(c *secretsmanager.Client, name string) map[string]string {
	out := must(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name}))
	short := make(map[string]string)
	for id, stages := range out.VersionIdsToStages {
		short[id] = strings.Join(stages, " ")
	}
	return short
}

func create(name, value, token string) *secretsmanager.CreateSecretInput {
	return &secretsmanager.CreateSecretInput{Name: &name, SecretString: maybe(value), ClientRequestToken: maybe(token)}
}

func put(name, value, token string, stages ...string) *secretsmanager.PutSecretValueInput {
	return &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: maybe(value), ClientRequestToken: maybe(token), VersionStages: stages}
}

func get(name, version, stage string) *secretsmanager.GetSecretValueInput {
	return &secretsmanager.GetSecretValueInput{SecretId: &name, VersionId: maybe(version), VersionStage: maybe(stage)}
}

func move(name, stage, from, to string) *secretsmanager.UpdateSecretVersionStageInput {
	return &secretsmanager.UpdateSecretVersionStageInput{SecretId: &name, VersionStage: &stage, RemoveFromVersionId: maybe(from), MoveToVersionId: maybe(to)}
}

// secrets asks for those whose names begin with the prefix.
func secrets(prefix string, deleted bool) *secretsmanager.ListSecretsInput {
	return &secretsmanager.ListSecretsInput{
		Filters:                []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}},
		IncludePlannedDeletion: &deleted,
	}
}

func maybe(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// memory is a transport without a socket, for synctest. It ends a request when
// its context does, as a connection would.
type memory struct{ http.Handler }

func (m memory) Do(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		switch broken := recover(); broken {
		case nil:
		case http.ErrAbortHandler:
			err = errors.New("connection broken")
		default:
			panic(broken)
		}
	}()
	rec := httptest.NewRecorder()
	m.ServeHTTP(rec, r)
	return rec.Result(), r.Context().Err()
}
