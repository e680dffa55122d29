package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// Memory is the fakes of Communic8 and Secrets Manager in memory, with a real SDK client, for
// code that runs in a testing/synctest bubble. Its methods may be called concurrently.
type Memory struct {
	Communic8 *c8test.Server
	Secrets   *smtest.Server
	Client    *secretsmanager.Client // of Secrets
	Log       Log

	fault atomic.Pointer[fault]
}

type fault struct {
	*smtest.Fault
	secrets []string // for which; none: all
}

// InMemory returns a Memory in which the tenants have their two secrets, both empty.
func InMemory(tenants ...string) *Memory {
	m := &Memory{Communic8: new(c8test.Server), Secrets: new(smtest.Server)}
	m.Secrets.Fault = func(_, secret string) *smtest.Fault {
		f := m.fault.Load()
		if f == nil || len(f.secrets) > 0 && !slices.Contains(f.secrets, secret) {
			return nil
		}
		return f.Fault
	}
	for _, tenant := range tenants {
		m.Secrets.Create(CredentialsName(tenant))
		m.Secrets.Create(TokenName(tenant))
	}
	m.Client = secretsmanager.New(secretsmanager.Options{
		Region:       Region,
		BaseEndpoint: aws.String("http://secretsmanager.test"),
		HTTPClient:   &http.Client{Transport: inmem.Transport{Handler: m.Secrets}, Timeout: 3 * time.Second},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey}, nil
		}),
	})
	return m
}

// FailSecrets makes every operation on these secrets fail so, on all if there are none, until it
// is called again; nil ends that.
func (m *Memory) FailSecrets(f *smtest.Fault, secrets ...string) { m.fault.Store(&fault{f, secrets}) }

// CredentialsName is the name of a tenant's credentials secret.
func CredentialsName(tenant string) string { return Name + "/credentials/" + tenant }

// TokenName is the name of a tenant's token secret.
func TokenName(tenant string) string { return Name + "/token/" + tenant }

// Credentials are OAuth 2 credentials as a person stores them.
func Credentials(baseURL, id, secret string) string {
	return encode(map[string]string{"base_url": baseURL, "client_id": id, "client_secret": secret})
}

// Token is a token as rotate stores it. It does not expire if its lifetime is 0.
func Token(baseURL, token, credentialsVersion string, issued time.Time, lifetime time.Duration) string {
	out := map[string]string{
		"base_url": baseURL, "access_token": token, "token_type": "Bearer",
		"issued_at": issued.UTC().Format(time.RFC3339), "credentials_version": credentialsVersion,
	}
	if lifetime != 0 {
		out["expires_at"] = issued.Add(lifetime).UTC().Format(time.RFC3339)
	}
	return encode(out)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // of strings: cannot be
	}
	return string(text)
}

// Log is what functions print.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// Take returns what was written since it was last called.
func (l *Log) Take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.text.String()
	l.text.Reset()
	return text
}
