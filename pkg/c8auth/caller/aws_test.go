package caller_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sso"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/c8auth/c8auth/internal/fakes/inmem"
	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// setAWS sets the variables, as name=value, and unsets all others of AWS.
func setAWS(t *testing.T, variables ...string) {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	write(t, empty, "")
	for _, variable := range append([]string{"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=" + empty, "AWS_SHARED_CREDENTIALS_FILE=" + empty}, variables...) {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sourceThatSendsNothing returns a Source that must not send a request to the API.
func sourceThatSendsNothing(t *testing.T, cfg aws.Config) *caller.Source {
	return &caller.Source{URL: apiURL, AWS: cfg, Base: roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, io.EOF
	})}
}

// A failure of the SDK's providers of credentials is described in words of this package by its type,
// because its text may contain a secret. It is an error within 15 seconds, and at once if only a
// person can fix it. No request is sent, also not with keys that have characters that none has.
func TestCredentialsFail(t *testing.T) {
	setAWS(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		write(t, path, text)
		return path
	}
	t.Setenv("MARK", "MARK")
	given := func(provider aws.CredentialsProvider) func() aws.Config {
		return func() aws.Config { return aws.Config{Credentials: aws.NewCredentialsCache(provider)} }
	}
	static := awscredentials.NewStaticCredentialsProvider
	ambient := func(variables ...string) func() aws.Config {
		return func() aws.Config { setAWS(t, variables...); return aws.Config{} }
	}
	profiles := 0
	profile := func(text string) func() aws.Config {
		profiles++
		return ambient("AWS_PROFILE=MARK", "AWS_CONFIG_FILE="+file(fmt.Sprint("profile", profiles), "[profile MARK]\nregion = eu-central-1\n"+text+"\n"))
	}
	// printing is a credential_process that prints the first half of its answer, which the
	// SDK's error quotes.
	printing := "credential_process = sh " + file("process.sh", `echo '{"Version": 1, "SecretAccessKey": "MARK'`)
	for _, test := range []struct {
		name   string
		config func() aws.Config
		text   string
		atOnce bool
	}{
		{"none", ambient(), "neither the environment nor the shared files hold any", true},
		{"no profile", ambient("AWS_PROFILE=MARK"), "the AWS profile does not exist", false},
		{"a malformed file", ambient("AWS_CONFIG_FILE=" + file("malformed", "[profile MARK\n\x1b[2JMARK")), "neither the environment nor the shared files hold any", true},
		{"a profile without its source", profile("role_arn = MARK\nsource_profile = MARK2"), "the AWS profile does not exist", false},
		{"a profile whose role has no source", profile("role_arn = MARK"), "AWS STS gives none for the role", false},
		{"no bundle", ambient("AWS_CA_BUNDLE=/MARK/\x1b[2J"), "aws sts get-caller-identity says more", false},
		{"a process that prints a secret", profile(printing), "the credential_process of the AWS profile fails", false},
		{"a process that fails", profile(`credential_process = sh -c 'echo MARK; exit 1'`), "the credential_process of the AWS profile fails", false},
		{"AWS STS", given(stscreds.NewAssumeRoleProvider(sts.New(sts.Options{
			Region: "eu-central-1", Credentials: credentials("AKIACALLER"), HTTPClient: inmem.Client(responds(403, "<ErrorResponse><Error><Code>MARK</Code><Message>MARK</Message></Error></ErrorResponse>")),
		}), "MARK")), "AWS STS gives none for the role", false},
		{"a container", given(endpointcreds.New("http://169.254.170.2/MARK", func(o *endpointcreds.Options) {
			o.HTTPClient = inmem.Client(responds(400, `{"code":"MARK","message":"MARK"}`))
		})),
			"the provider of credentials that it names, fails", false},
		{"an instance", given(ec2rolecreds.New(func(o *ec2rolecreds.Options) {
			o.Client = imds.New(imds.Options{HTTPClient: inmem.Client(responds(404, "MARK")), ClientEnableState: imds.ClientEnabled})
		})), "the instance metadata service gives none", true},
		{"a sign-in that has expired", given(ssocreds.New(sso.New(sso.Options{Region: "eu-central-1"}), "MARK", "MARK", "MARK", func(o *ssocreds.Options) {
			o.CachedTokenFilepath = file("token", `{"accessToken":"MARK","expiresAt":"1999-01-01T00:00:00Z"}`)
		})), "aws sso login", true},
		{"a provider that hangs", given(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			time.Sleep(time.Minute)
			return aws.Credentials{}, errors.New("MARK")
		})), "does not answer in time", false},
		{"a provider of one's own", given(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("MARK\x1b[2J" + strings.Repeat("MARK", 1000))
		})), "aws sts get-caller-identity says more", false},
		{"a malformed access key ID", given(static("AKIAMARK\n", "MARK", "")), "the AWS access key ID is empty or has a character", true},
		{"a malformed secret access key", given(static("AKIAMARK", "MARK\n", "")), "the AWS secret access key is empty or has a character", true},
		{"a malformed session token", given(static("AKIAMARK", "MARK", "MARK\r\n")), "the AWS session token is empty or has a character", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := test.config()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := sourceThatSendsNothing(t, cfg).Token()
				mustBe(t, err, caller.ErrCredentials, test.text)
				if elapsed := time.Since(start); elapsed > 15*time.Second || test.atOnce != (elapsed == 0) {
					t.Errorf("it fails after %v", elapsed)
				}
				time.Sleep(time.Minute) // until the provider that hangs returns
			})
		})
	}
}

// When the API says that a key has expired or is invalid, the cache of the provider may be stale, and
// the request is signed and sent once more. A key that is refused again makes two requests.
func TestCredentialsAreRenewed(t *testing.T) {
	for _, refusal := range []string{"UnrecognizedClientException", "ExpiredTokenException"} {
		withEnv(t, func(e *env) {
			key := "ASIAOLD"
			source := e.source()
			source.AWS.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
				return credentials(key).Retrieve(ctx)
			}))
			e.setAPI(responds(http.StatusForbidden, "", "X-Amzn-Errortype: "+refusal))
			if _, err := source.Token(); !errors.Is(err, caller.ErrSignature) || e.count("GET") != 2 {
				t.Errorf("got %v after %d requests", err, e.count("GET"))
			}
			e.setAPI(nil)
			key = "AKIACALLER"
			time.Sleep(10 * time.Second)
			if e.token(source); e.count("GET") != 4 {
				t.Errorf("%d requests, want 4", e.count("GET"))
			}
		})
	}
}

// AWS_CA_BUNDLE holds for the API's certificate, as for AWS's tools, and not for that of Communic8.
func TestBundle(t *testing.T) {
	var url string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			_, _ = fmt.Fprintf(w, `{"access_token":"a","token_type":"Bearer","expires_in":3600,"version":"v","base_url":%q}`, url)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails
	server.StartTLS()
	defer server.Close()
	url = server.URL
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	write(t, bundle, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	setAWS(t, "AWS_CA_BUNDLE="+bundle, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIACALLER", "AWS_SECRET_ACCESS_KEY=example")
	source := &caller.Source{URL: server.URL + "/v1"}
	if _, err := source.Token(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &caller.Transport{Source: source}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(broadcast)
	if err == nil {
		_ = resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "shows a certificate of an unknown authority") {
		t.Errorf("Communic8: got %v", err)
	}
}
