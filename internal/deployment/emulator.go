package main

// AWS on this machine: MiniStack, and the environment in which everything finds it.

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// What the emulator is asked to be. Twelve digits for an access key are the root user of
// the account of that number, whose signatures are not checked: it makes the first users.
const (
	region       = "eu-central-1"
	account      = "111122223333"
	otherAccount = "210987654321"
	rootSecret   = "test"
)

// emulator is a MiniStack that runs, behind the host names of AWS.
type emulator struct {
	proxy   *proxy
	process *exec.Cmd
	log     string // the file with what it prints
}

// startEmulator starts MiniStack with its files in dir and makes it the AWS of this process
// and of its children, with the credentials of the account's root user.
func startEmulator(ctx context.Context, root, tools, dir string) (_ *emulator, err error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	server := "http://" + port
	e := &emulator{log: filepath.Join(dir, "ministack.log")}
	if e.proxy, err = startProxy(server); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.stop()
		}
	}()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, e.proxy.CA, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(e.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	host, number, _ := net.SplitHostPort(port)
	e.process = exec.Command(filepath.Join(tools, "ministack", "bin", "python"), filepath.Join(root, "internal", "deployment", "emulator.py"))
	e.process.Dir, e.process.Stdout, e.process.Stderr = dir, log, log
	e.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which ends it in time
	e.process.Env = []string{                                   // the functions', too
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir,
		"HTTPS_PROXY=" + e.proxy.URL, "SSL_CERT_FILE=" + ca,
		"AUTH=true", "LAMBDA_EXECUTOR=local", "BIND_HOST=" + host, "GATEWAY_PORT=" + number, "IOT_MTLS_PORT=0",
		"MINISTACK_HOST=" + region + ".amazonaws.com", "MINISTACK_REGION=" + region, "MINISTACK_ACCOUNT_ID=" + account,
	}
	if err := e.process.Start(); err != nil {
		return nil, err
	}
	if err := e.await(ctx, server); err != nil {
		return nil, err
	}

	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			if err := os.Unsetenv(name); err != nil {
				return nil, err
			}
		}
	}
	return e, setenv(map[string]string{
		"HTTPS_PROXY": e.proxy.URL, "https_proxy": e.proxy.URL, "NO_PROXY": "", "no_proxy": "",
		"SSL_CERT_FILE": ca, "AWS_CA_BUNDLE": ca, "CURL_CA_BUNDLE": ca, "REQUESTS_CA_BUNDLE": ca,
		"AWS_REGION": region, "AWS_DEFAULT_REGION": region, "AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": rootSecret,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"PATH": filepath.Join(tools, "aws", "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
	})
}

// await returns when MiniStack answers.
func (e *emulator) await(ctx context.Context, server string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client := &http.Client{Transport: new(http.Transport)} // the default one would remember that there is no proxy
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/_ministack/health", nil)
		if err != nil {
			return err
		}
		if answer, err := client.Do(request); err == nil {
			return answer.Body.Close()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			printed, _ := os.ReadFile(e.log)
			return fmt.Errorf("MiniStack does not answer:\n%s", printed)
		}
	}
}

// stop ends it and its functions.
func (e *emulator) stop() {
	if e.process != nil && e.process.Process != nil {
		_ = syscall.Kill(-e.process.Process.Pid, syscall.SIGKILL)
		_ = e.process.Wait()
	}
	e.proxy.stop()
}

// newUser makes a user with a policy, whose signatures are checked, and returns the variables
// with its credentials.
func newUser(ctx context.Context, cfg aws.Config, name, policy string) (map[string]string, error) {
	client := iam.NewFromConfig(cfg)
	if _, err := client.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		return nil, err
	}
	made, err := client.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &policy})
	if err != nil {
		return nil, err
	}
	if _, err := client.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: made.Policy.Arn}); err != nil {
		return nil, err
	}
	key, err := client.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		return nil, err
	}
	return map[string]string{"AWS_ACCESS_KEY_ID": *key.AccessKey.AccessKeyId, "AWS_SECRET_ACCESS_KEY": *key.AccessKey.SecretAccessKey}, nil
}

func setenv(variables map[string]string) error {
	for name, value := range variables {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// freePort returns an address on loopback that nobody listens on.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
