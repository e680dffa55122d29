package main

// AWS on this machine: MiniStack, and the environment in which everything finds it.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// What the emulator is asked to be.
const (
	region       = "eu-central-1"
	account      = "111122223333"
	otherAccount = "210987654321"
)

// rootOf is the root user of an account, for whom the emulator takes twelve digits as an access
// key, without a check of signatures. It makes the first roles.
func rootOf(account string) caller {
	return caller{Credentials: aws.Credentials{AccessKeyID: account, SecretAccessKey: "test"}}
}

// useEmulator installs MiniStack and makes it the AWS of this process and of its children, whose
// credentials are an administrator's. stop has to be called after an error, too.
func (d *deployment) useEmulator() (stop func(), err error) {
	stop = func() {}
	if runtime.GOOS != "linux" {
		return stop, errors.New("the emulator runs the functions on this machine, which has to be Linux for that")
	}
	d.arch = map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	documented, err := os.ReadFile(filepath.Join(d.root, "docs", "deployer-policy.json"))
	if err != nil {
		return stop, err
	}
	start := time.Now()
	tools, err := d.run("", nil, filepath.Join(d.root, ".ci", "venv"), "ministack", "aws")
	if err != nil {
		return stop, err
	}
	installed, tools := time.Since(start), strings.TrimSpace(tools)
	if stop, err = d.startEmulator(tools); err != nil {
		return stop, err
	}
	if d.deployer, err = d.newRole(rootOf(account), account, "deployer", string(documented)); err != nil {
		return stop, err
	}
	administrator, err := d.newRole(rootOf(account), account, "administrator", policy("*", "*"))
	if err != nil {
		return stop, err
	}
	for _, variable := range administrator.environ() {
		name, value, _ := strings.Cut(variable, "=")
		setenv(map[string]string{name: value})
	}
	d.printf(`On an emulator of AWS, MiniStack, in %s (installed in %.0f s).
It checks signatures and evaluates IAM policies: sam has no more rights than
docs/deployer-policy.json gives, all else is an administrator. Its schedules run ten times as fast as AWS's.
The stack is %s.
`, tools, installed.Seconds(), d.name)
	return stop, d.identify()
}

// startEmulator starts MiniStack behind the host names of AWS.
func (d *deployment) startEmulator(tools string) (stop func(), _ error) {
	stop = func() {}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return stop, err
	}
	host, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close() // for MiniStack, which does not choose a port by itself
	server := "http://" + net.JoinHostPort(host, port)
	proxy, authority, err := startProxy(server)
	if err != nil {
		return stop, err
	}
	ca := filepath.Join(d.dir, "ca.pem")
	if err := os.WriteFile(ca, authority, 0o600); err != nil {
		return stop, err
	}
	log, err := os.Create(filepath.Join(d.dir, "ministack.log"))
	if err != nil {
		return stop, err
	}
	process := exec.Command(filepath.Join(tools, "ministack", "bin", "python"), filepath.Join(d.root, "internal", "deployment", "emulator.py"))
	process.Dir, process.Stdout, process.Stderr = d.dir, log, log
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which ends it in time
	process.Env = []string{                                   // the functions', too
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "TMPDIR=" + d.dir,
		"HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + ca,
		"AUTH=true", "LAMBDA_EXECUTOR=local", "BIND_HOST=" + host, "GATEWAY_PORT=" + port, "IOT_MTLS_PORT=0",
		"MINISTACK_HOST=" + region + ".amazonaws.com", "MINISTACK_REGION=" + region, "MINISTACK_ACCOUNT_ID=" + account,
	}
	if err := process.Start(); err != nil {
		return stop, err
	}
	stop = func() {
		_ = syscall.Kill(-process.Process.Pid, syscall.SIGKILL)
		_ = process.Wait()
	}
	if _, err := d.shell("curl -s --noproxy '*' --retry 60 --retry-delay 1 --retry-connrefused "+server+"/_ministack/health", ""); err != nil {
		printed, _ := os.ReadFile(log.Name())
		return stop, fmt.Errorf("MiniStack does not answer: %w\n%s", err, printed)
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	setenv(map[string]string{
		"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "", "no_proxy": "",
		"SSL_CERT_FILE": ca, "AWS_CA_BUNDLE": ca, "CURL_CA_BUNDLE": ca, "REQUESTS_CA_BUNDLE": ca, "AWS_REGION": region,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"PATH": filepath.Join(tools, "aws", "bin") + string(os.PathListSeparator) + os.Getenv("PATH"),
	})
	return stop, nil
}
