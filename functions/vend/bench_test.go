package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

// BenchmarkVend is a request that is answered from memory: what aws-lambda-go does
// around it comes on top.
func BenchmarkVend(b *testing.B) {
	event, err := os.ReadFile("../../events/vend.json")
	if err != nil {
		b.Fatal(err)
	}
	sm := new(smtest.Server)
	sm.Create("stack/token/default")
	sm.Put("stack/token/default", fmt.Sprintf(`{"base_url": "https://acme.communic8.com", "access_token": "0123456789abcdef0123456789abcdef", "token_type": "Bearer", "issued_at": %q, "expires_at": %q, "credentials_version": "v1"}`,
		time.Now().UTC().Format(time.RFC3339), time.Now().UTC().Add(24*time.Hour).Format(time.RFC3339)))
	fn := handler{log: c8auth.NewLogger(io.Discard), cache: &c8auth.Cache{TTL: time.Hour, Store: &c8auth.Store{
		Stack: "stack",
		Client: secretsmanager.New(secretsmanager.Options{
			Region:       "eu-central-1",
			BaseEndpoint: aws.String("http://secretsmanager.test"),
			HTTPClient:   inmem.Client(sm),
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "example"}, nil
			}),
		}),
	}}}
	b.ReportAllocs()
	for b.Loop() {
		if answer, err := fn.Invoke(b.Context(), event); err != nil || !bytes.HasPrefix(answer, []byte(`{"statusCode":200,`)) {
			b.Fatalf("%s, %v", answer, err)
		}
	}
	if reads := sm.Calls("GetSecretValue"); reads != 1 {
		b.Errorf("%d reads of the store", reads)
	}
}
