package smtest_test

// What the tests share: a real client in memory, and short forms of its calls.

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
	"github.com/aws/smithy-go"

	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// Client request tokens of the length that AWS requires.
const (
	token1 = "11111111-1111-1111-1111-111111111111"
	token2 = "22222222-2222-2222-2222-222222222222"
	token3 = "33333333-3333-3333-3333-333333333333"
	token4 = "44444444-4444-4444-4444-444444444444"
)

var ctx = context.Background()

// connect returns a client of the store, in memory.
func connect(store *smtest.Server) *secretsmanager.Client {
	return client("http://secretsmanager.test", inmem.Client(store))
}

// client returns a client that retries twice, at once. It takes nothing from the environment.
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

func second[T any](_ T, err error) error { return err }

// refusal is the error that AWS answered with, as "Type: message".
func refusal(err error) string {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return "no API error"
	}
	return api.ErrorCode() + ": " + api.ErrorMessage()
}

func put(name, value, token string, stages ...string) *secretsmanager.PutSecretValueInput {
	return &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: maybe(value), ClientRequestToken: maybe(token), VersionStages: stages}
}

func get(name, version, stage string) *secretsmanager.GetSecretValueInput {
	return &secretsmanager.GetSecretValueInput{SecretId: &name, VersionId: maybe(version), VersionStage: maybe(stage)}
}

func maybe(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Whatever becomes of the first attempt, the SDK repeats it under the same client request
// token, and there is one version in the end.
func TestRetriedPutIsWrittenOnce(t *testing.T) {
	for why, fault := range map[string]smtest.Fault{
		"refused":                      {},
		"throttled":                    {Status: 400, Type: "ThrottlingException", Message: "Rate exceeded"},
		"written, answered with 500":   {After: true},
		"written, answered with 503":   {After: true, Status: 503, Body: "<html>busy</html>"},
		"written, connection broken":   {After: true, Break: true},
		"not written, connection lost": {Break: true},
	} {
		t.Run(why, func(t *testing.T) {
			store := new(smtest.Server)
			store.Fault = func(string, string) *smtest.Fault {
				if store.Calls("") > 1 {
					return nil
				}
				return &fault
			}
			store.Create("s")
			out, err := connect(store).PutSecretValue(ctx, put("s", "v", ""))
			if err != nil {
				t.Fatal(err)
			}
			value, version := store.Value("s")
			if value != "v" || version != *out.VersionId || store.Versions("s") != 1 {
				t.Errorf("%d versions, %s of which is current; answered %s", store.Versions("s"), version, *out.VersionId)
			}
			if n := store.Calls("PutSecretValue"); n != 2 {
				t.Errorf("%d calls, want one that fails and one that succeeds", n)
			}
		})
	}
}

// A write without a client request token, which the SDK always adds, is refused.
func TestRecordedNoToken(t *testing.T) { // test_no_client_request_token[PutSecretValue], 2023-05-12
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"SecretId":"s","SecretString":"v"}`))
	r.Header.Set("X-Amz-Target", "secretsmanager.PutSecretValue")
	w := httptest.NewRecorder()
	new(smtest.Server).ServeHTTP(w, r)
	const want = `{"__type":"InvalidRequestException","Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`
	if got := strings.TrimSpace(w.Body.String()); w.Code != 400 || got != want {
		t.Errorf("got %d %s, want %s", w.Code, got, want)
	}
}
