// Package harness puts the fakes together, once for all tests of more than one part.
//
// [Start] and [StartBuilt] run both real function binaries, each on a Lambda Runtime API of
// its own, between fakes of Communic8, Secrets Manager, API Gateway and the other services of
// AWS that an operator uses, all on loopback. `make run` is the same. [StartForContainers]
// starts the fakes alone, for functions in containers. [InMemory] is for code that runs in a
// testing/synctest bubble.
package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// The names and keys of every stack here.
const (
	Name      = "c8auth" // of the stack
	Region    = "eu-central-1"
	AccessKey = "AKIAIOSFODNN7EXAMPLE" // of the caller, who is also the operator
	SecretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	Caller    = "arn:aws:iam::123456789012:user/newcomer"
)

// Stack is both functions and the fakes around them. Between Start and Stop its parts may be
// used and changed as each of them allows.
type Stack struct {
	Communic8 *c8test.Server
	Secrets   *smtest.Server
	Gateway   *gwtest.Gateway
	AWS       *awstest.Server // with Secrets in it; it holds what the functions log
	Rotate    *lambdatest.Function
	Vend      *lambdatest.Function

	Communic8URL, SecretsURL, APIURL, AWSURL string // without a slash at the end

	Key aws.Credentials // of the caller, with which Get and Report sign

	address, host string // where the fakes listen, and what it is called in URLs
	servers       []*http.Server
	dir           string // is removed in the end
}

// Ports are the preferred ports of the fakes. One that is taken is replaced by any that is
// free; so is 0.
type Ports struct{ Communic8, Secrets, API, AWS int }

// Start builds the functions from the module that the working directory belongs to, and
// starts the fakes. The tenant default has its two secrets, both empty. The caller may get
// its token and report it, and do everything else in AWS. log gets what the functions print.
func Start(ctx context.Context, ports Ports, log io.Writer) (s *Stack, err error) {
	dir, err := os.MkdirTemp("", "c8auth-")
	if err != nil {
		return nil, err
	}
	if err = Build(ctx, dir); err == nil {
		s, err = StartBuilt(dir, ports, log)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.dir = dir
	return s, nil
}

// Build builds the functions in dir, for any number of StartBuilt.
func Build(ctx context.Context, dir string) error {
	root, err := lambdatest.Root()
	if err != nil {
		return err
	}
	for _, name := range []string{"rotate", "vend"} {
		if _, err := lambdatest.Build(ctx, root, filepath.Join(dir, name), name); err != nil {
			return err
		}
	}
	return nil
}

// StartBuilt is Start with the functions that Build has built in dir.
func StartBuilt(dir string, ports Ports, log io.Writer) (_ *Stack, err error) {
	const loopback = "127.0.0.1"
	s, err := start(loopback, loopback, ports)
	if err != nil {
		return nil, err
	}
	s.AWS = &awstest.Server{Keys: map[string]string{AccessKey: Caller}, Secrets: s.Secrets, Functions: make(map[string]awstest.Function)}
	s.Rotate = s.function(dir, "rotate", time.Minute, log) // the times are those of template.yaml
	s.Vend = s.function(dir, "vend", 10*time.Second, log)
	s.Gateway = &gwtest.Gateway{Invoke: s.Vend.Invoke, Report: s.Rotate.Invoke, Keys: map[string]gwtest.Key{
		AccessKey: {SecretAccessKey: SecretKey, ARN: Caller, Tenants: []string{"default"}, Reports: []string{"default"}},
	}}
	if s.APIURL, err = s.listen(ports.API, s.Gateway); err == nil {
		s.APIURL += "/v1"
		s.AWS.Deploy(Name, s.APIURL, "default")
		s.AWSURL, err = s.listen(ports.AWS, s.AWS)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// start serves Communic8, and Secrets Manager with the two secrets of the tenant default.
func start(address, host string, ports Ports) (_ *Stack, err error) {
	s := &Stack{
		Communic8: new(c8test.Server), Secrets: new(smtest.Server), address: address, host: host,
		Key: aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey},
	}
	s.Secrets.Create(CredentialsName("default"))
	s.Secrets.Create(TokenName("default"))
	if s.Communic8URL, err = s.listen(ports.Communic8, s.Communic8); err == nil {
		s.SecretsURL, err = s.listen(ports.Secrets, s.Secrets)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// listen serves h and returns its URL.
func (s *Stack) listen(port int, h http.Handler) (string, error) {
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", s.address, port))
	if err != nil {
		listener, err = net.Listen("tcp", s.address+":0")
	}
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	s.servers = append(s.servers, server)
	go func() { _ = server.Serve(listener) }()
	return fmt.Sprintf("http://%s:%d", s.host, listener.Addr().(*net.TCPAddr).Port), nil
}

// function returns a function of the stack, which the operator may invoke.
func (s *Stack) function(dir, name string, timeout time.Duration, log io.Writer) *lambdatest.Function {
	f := &lambdatest.Function{
		Name:      Name + "-" + name,
		Bootstrap: filepath.Join(dir, name, "bootstrap"),
		Timeout:   timeout,
		Log:       io.MultiWriter(s.AWS.Log("/aws/lambda/"+Name+"-"+name), log),
		Env: []string{
			"C8AUTH_STACK=" + Name,
			"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + s.SecretsURL,
			"AWS_REGION=" + Region,
			"AWS_ACCESS_KEY_ID=AKIAI44QH8DHBEXAMPLE",
			"AWS_SECRET_ACCESS_KEY=je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
		},
	}
	s.AWS.Functions[f.Name] = f.Invoke
	return f
}

// Sandbox returns one more sandbox of a function, with more variables in its environment. Stop
// it before the Stack.
func Sandbox(f *lambdatest.Function, env ...string) *lambdatest.Function {
	return &lambdatest.Function{Name: f.Name, Bootstrap: f.Bootstrap, Timeout: f.Timeout, Log: f.Log, Env: slices.Concat(f.Env, env)}
}

// Environ is the environment in which the AWS SDK uses the fakes, as the caller.
func (s *Stack) Environ() []string {
	return []string{"AWS_ENDPOINT_URL=" + s.AWSURL, "AWS_REGION=" + Region, "AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey}
}

// Stop ends everything that Start began and leaves nothing behind.
func (s *Stack) Stop() {
	for _, f := range []*lambdatest.Function{s.Rotate, s.Vend} {
		if f != nil {
			f.Stop()
		}
	}
	for _, server := range s.servers {
		_ = server.Close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// Get sends a signed request for the tenant's token, as its callers do. header may be nil.
func (s *Stack) Get(ctx context.Context, tenant string, header http.Header) (*http.Response, []byte, error) {
	return s.send(ctx, http.MethodGet, "/tokens/"+tenant, header, "")
}

// Report sends a signed report that Communic8 rejects the version of the tenant's token.
func (s *Stack) Report(ctx context.Context, tenant, version string) (*http.Response, []byte, error) {
	return s.send(ctx, http.MethodPost, "/tokens/"+tenant+"/rejections", nil, fmt.Sprintf(`{"version":%q}`, version))
}

func (s *Stack) send(ctx context.Context, method, path string, header http.Header, body string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.APIURL+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(req.Header, header)
	digest := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, s.Key, req, hex.EncodeToString(digest[:]), "execute-api", Region, time.Now()); err != nil {
		return nil, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// Reason returns the message of a function's failure.
func Reason(err error) string {
	if failure, ok := errors.AsType[*lambdatest.Error](err); ok {
		return failure.Message
	}
	return err.Error()
}
