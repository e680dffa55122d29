//go:build moto

package c8auth

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// Reports of rejections on a Secrets Manager that others wrote: a claim does not become
// the token, and another one of the same version is held.
func TestMotoReject(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", os.Getenv("MOTO_URL"))
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	c8 := new(c8test.Server)
	c8.AddClient("id", "secret")
	server := httptest.NewServer(c8)
	defer server.Close()
	store, err := OpenStore(t.Context(), "reports")
	if err != nil {
		t.Fatal(err)
	}
	createOnMoto(t, store, "reports/credentials/acme", `{"base_url":"`+server.URL+`","client_id":"id","client_secret":"secret"}`)
	createOnMoto(t, store, "reports/token/acme", "")
	rotator := &Rotator{Store: store, Endpoint: &Endpoint{Client: NewHTTPClient(), ProbePath: defaultProbePath}, Log: slog.New(slog.DiscardHandler)}
	first, err := rotator.Rotate(t.Context(), Request{Tenant: "acme"})
	if err != nil || first.Outcome != Rotated {
		t.Fatalf("got %+v, %v", first, err)
	}
	revoke := func() {
		for _, token := range c8.Issued() {
			c8.Revoke(token)
		}
	}
	reject := func(version string, want Outcome) Result {
		t.Helper()
		got, err := rotator.Reject(t.Context(), Report{Tenant: "acme", Version: version})
		if err != nil || got.Outcome != want {
			t.Fatalf("got %+v, %v, want %s", got, err, want)
		}
		return got
	}
	revoke()
	second := reject(first.Version, Rotated)
	reject(first.Version, Superseded)
	reject(second.Version, Kept)
	if token, version, err := store.Token(t.Context(), "acme"); err != nil || version != second.Version || !c8.Valid(token.AccessToken.Reveal()) {
		t.Errorf("stored is version %s, %v", version, err)
	}
	if ok, err := store.claim(t.Context(), "acme", second.Version); !ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
	if ok, err := store.claim(t.Context(), "acme", second.Version); ok || err != nil {
		t.Errorf("a second claim of the same version: got %t, %v", ok, err)
	}
	revoke()
	rotator.states.of = nil
	if _, err := rotator.Reject(t.Context(), Report{Tenant: "acme", Version: second.Version}); !errors.Is(err, ErrHeld) {
		t.Errorf("got %v, want ErrHeld", err)
	}
}

// createOnMoto makes a secret, empty if text is.
func createOnMoto(t *testing.T, s *Store, name, text string) {
	t.Helper()
	in := &secretsmanager.CreateSecretInput{Name: &name}
	if text != "" {
		in.SecretString = &text
	}
	if _, err := s.Client.CreateSecret(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}
