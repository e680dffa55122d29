// Deployment is `make deployment`: the whole life of a deployment, made by the real SAM CLI
// and used by the real aws command, curl and operator's tool. It prints what was expected and
// seen of each step, and ends with status 1 if anything is not as expected.
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
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"

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
		err = d.useAWS()
	} else {
		var stop func()
		stop, err = d.useEmulator()
		defer stop()
	}
	if err != nil {
		return false, err
	}
	setenv(map[string]string{
		"SAM_CLI_TELEMETRY": "0", "AWS_PAGER": "",
		// What a make above tells a make below is not for the one that sam build runs.
		"GNUMAKEFLAGS": "", "MAKEFLAGS": "", "MAKELEVEL": "", "MAKEOVERRIDES": "", "MFLAGS": "",
	})
	d.startedAt = time.Now()
	d.steps()
	if onAWS {
		d.cleanUp()
	}
	return d.totals() && ctx.Err() == nil, nil
}

// useAWS has a person agree to what will be made there.
func (d *deployment) useAWS() error {
	if err := d.identify(); err != nil {
		return err
	}
	role, err := d.cli("apigateway get-account --query cloudwatchRoleArn")
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

Type yes to go on: `, d.identity.AccountID, d.aws.Region, d.identity, d.name,
		map[bool]string{true: "", false: ", and the account's role for API Gateway's logs, made twice"}[d.hasLogsRole])
	if answer, _ := bufio.NewReader(os.Stdin).ReadString('\n'); strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was made, as the answer was not yes")
	}
	return nil
}

// identify finds out who this process is on AWS, and in which region.
func (d *deployment) identify() error {
	var err error
	if d.aws, err = config.LoadDefaultConfig(d.ctx); err != nil {
		return err
	}
	if d.aws.Region == "" {
		return errors.New("no AWS region is configured; set AWS_REGION")
	}
	// The SAM CLI reads one of them, everything else the other.
	setenv(map[string]string{"AWS_REGION": d.aws.Region, "AWS_DEFAULT_REGION": d.aws.Region})
	if d.administrator.Credentials, err = d.aws.Credentials.Retrieve(d.ctx); err == nil {
		d.secret(d.administrator.SecretAccessKey)
		d.secret(d.administrator.SessionToken)
		var identity string
		if identity, err = d.cli("sts get-caller-identity --query Arn"); err == nil {
			d.identity, err = arn.Parse(identity)
			return err
		}
	}
	return fmt.Errorf("who you are on AWS cannot be seen; sign in (aws sso login, aws configure): %w", err)
}

// setenv sets variables of this process and of its children.
func setenv(variables map[string]string) {
	for name, value := range variables {
		_ = os.Setenv(name, value) // fails only if the name cannot be one
	}
}
