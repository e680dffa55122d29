// Deployment is `make deployment`: the whole life of a deployment, made by the real SAM CLI
// and used by the real aws command, curl, AWS SDK and operator's tool. It prints what was
// expected and seen of each step, and ends with status 1 if anything is not as expected.
//
// AWS is an emulator that it installs and starts; with -aws, it is the AWS that the
// configuration points to. With -release, it deploys from a release's files instead of building
// the source tree. With -faults, it shows that the steps notice what is wrong.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

func main() {
	onAWS := flag.Bool("aws", false, "use AWS, with the configuration of the environment")
	first := flag.Bool("first", false, "end at the first step that fails")
	release := flag.String("release", "", "deploy from this directory with the files of a release")
	plant := flag.Bool("faults", false, "plant faults in copies of the source tree and show which step notices each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	root, err := lambdatest.Root()
	ok := false
	switch {
	case err != nil:
	case *plant:
		ok, err = plantAll(ctx, os.Stdout, root)
	default:
		ok, err = run(ctx, root, *release, *onAWS, *first)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "make deployment:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// run takes all steps and reports whether each went as expected. release is empty, or a
// directory to deploy from.
func run(ctx context.Context, root, release string, onAWS, first bool) (ok bool, _ error) {
	dir, err := os.MkdirTemp("", "c8auth-deployment-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := &deployment{
		table: &table{ctx: ctx, out: os.Stdout, failFast: first},
		root:  root, from: root, dir: dir, onAWS: onAWS,
		name: "c8auth-deployment-" + strings.ToLower(rand.Text()[:6]),
		arch: "arm64",
	}
	if release != "" {
		if d.from, err = filepath.Abs(release); err != nil {
			return false, err
		}
	}
	if onAWS {
		if err := d.useAWS(os.Stdin); err != nil {
			return false, err
		}
	} else {
		stop, err := d.useEmulator()
		if err != nil {
			return false, err
		}
		defer stop()
	}
	// What a make above tells a make below is not for the one that sam build runs.
	for _, variable := range []string{"GNUMAKEFLAGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"} {
		if err := os.Unsetenv(variable); err != nil {
			return false, err
		}
	}
	if err := setenv(map[string]string{"SAM_CLI_TELEMETRY": "0", "AWS_PAGER": ""}); err != nil {
		return false, err
	}
	d.startedAt = time.Now()
	d.steps()
	if onAWS {
		d.cleanUp()
	}
	return d.totals() && ctx.Err() == nil, nil
}

// useEmulator installs and starts it.
func (d *deployment) useEmulator() (stop func(), _ error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("the emulator runs the functions on this machine, which has to be Linux for that")
	}
	d.arch = map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	start := time.Now()
	tools, err := installTools(d.ctx, d.root)
	if err != nil {
		return nil, err
	}
	installed := time.Since(start)
	e, err := startEmulator(d.ctx, d.root, tools, d.dir)
	if err != nil {
		return nil, err
	}
	if err := d.users(); err != nil {
		e.stop()
		return nil, err
	}
	d.printf(`On an emulator of AWS, MiniStack, in %s (installed in %.0f s).
It checks signatures and evaluates IAM policies: sam runs as a user with no more than
docs/deployer-policy.json, all else as an administrator. Its schedules run ten times as fast as AWS's.
The stack is %s.
`, tools, installed.Seconds(), d.name)
	return e.stop, nil
}

// users makes an administrator, who is the user of this process, and one who deploys with no
// more than the documented policy.
func (d *deployment) users() error {
	documented, err := os.ReadFile(filepath.Join(d.root, "docs", "deployer-policy.json"))
	if err != nil {
		return err
	}
	root, err := config.LoadDefaultConfig(d.ctx)
	if err != nil {
		return err
	}
	deployer, err := newUser(d.ctx, root, "deployer", string(documented))
	if err != nil {
		return err
	}
	for name, value := range deployer {
		d.deployer = append(d.deployer, name+"="+d.secret(value))
	}
	administrator, err := newUser(d.ctx, root, "administrator", *document(policy("Allow", "*", "*")))
	if err != nil {
		return err
	}
	if err := setenv(administrator); err != nil {
		return err
	}
	d.aws, err = config.LoadDefaultConfig(d.ctx)
	return err
}

// useAWS finds the account and has a person agree to what will be made there.
func (d *deployment) useAWS(terminal io.Reader) (err error) {
	if d.aws, err = config.LoadDefaultConfig(d.ctx); err != nil {
		return err
	}
	if d.aws.Region == "" {
		return errors.New("no AWS region is configured; set AWS_REGION")
	}
	identity, err := sts.NewFromConfig(d.aws).GetCallerIdentity(d.ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("who you are on AWS cannot be seen; sign in (aws sso login, aws configure): %w", err)
	}
	// The SAM CLI reads one of them, everything else the other.
	if err := setenv(map[string]string{"AWS_REGION": d.aws.Region, "AWS_DEFAULT_REGION": d.aws.Region}); err != nil {
		return err
	}
	role, err := d.cli("apigateway", "get-account", "--query", "cloudwatchRoleArn", "--output", "text")
	if err != nil {
		return err
	}
	d.hasLogsRole = strings.HasPrefix(role, "arn:")
	d.printf(`On AWS: account %s, region %s, as %s.
When this was written, it had not been tried on AWS: watch it, and see in the end what is left.

It makes the stack %s with a second tenant, a fake of Communic8 that is a Lambda
function with a public URL, and some roles; changes, deletes and makes them again; and removes
all of that, secrets and keys included. It takes about an hour and costs less than a dollar.
What stays: keys that are deleted after 7 days, the SAM CLI's bucket (the stack
aws-sam-cli-managed-default)%s.

Type yes to go on: `, aws.ToString(identity.Account), d.aws.Region, aws.ToString(identity.Arn), d.name,
		map[bool]string{true: "", false: ", and the account's role for API Gateway's logs, made twice"}[d.hasLogsRole])
	if answer, _ := bufio.NewReader(terminal).ReadString('\n'); strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was made, as the answer was not yes")
	}
	return nil
}
