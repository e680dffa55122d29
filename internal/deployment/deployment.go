package main

// What is tried: a deployment, and the commands that make, change and delete it.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// deployment is a stack made from template.yaml and what belongs to it.
type deployment struct {
	*table
	root   string // of the source tree
	from   string // the directory that sam deploys from: the source tree, or a release's
	dir    string // for files that nobody needs later
	onAWS  bool
	arch   string // arm64 or x86_64
	name   string // of the stack
	aws    aws.Config
	stacks []string // that were made, in the order of their creation
	roles  []string // of callers of this account, that exist

	identity      arn.ARN // of the administrator
	administrator caller  // whom commands run as, unless they run as somebody else
	deployer      caller  // whom sam deploy and sam delete run as; without credentials, the administrator
	hasLogsRole   bool    // the account has a role for API Gateway's logs, so that the stack makes none

	outputs      map[string]string // of the stack
	tenant, acme map[string]string // outputs of the tenants
	communic8    string            // base URL
	clientSecret string

	unprivileged, reader, reporter, granted, acmeReader caller
}

// run runs a command where sam deploys from, and returns what it printed. Its error shows the
// end of that.
func (d *deployment) run(stdin string, environment []string, name string, args ...string) (string, error) {
	command := exec.CommandContext(d.ctx, name, args...)
	command.Dir, command.Stdin = d.from, strings.NewReader(stdin)
	command.Env = append(os.Environ(), environment...)
	command.WaitDelay = 10 * time.Second
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		printed := strings.TrimSpace(string(out) + stderr.String())
		err = fmt.Errorf("%w: %s", err, printed[max(0, len(printed)-5000):])
	}
	return string(out), err
}

// shell runs a command line as a person would.
func (d *deployment) shell(line, stdin string, environment ...string) (string, error) {
	return d.run(stdin, environment, "sh", "-c", line)
}

// cli runs the aws command. Its arguments are those in a text, which blanks separate, and more.
func (d *deployment) cli(text string, more ...string) (string, error) {
	return d.cliAs(caller{}, text, more...)
}

// cliAs is cli with the credentials of a caller.
func (d *deployment) cliAs(c caller, text string, more ...string) (string, error) {
	args := slices.Concat(strings.Fields(text), more, []string{"--output", "text"})
	out, err := d.run("", c.environ(), "aws", args...)
	return strings.TrimSpace(out), err
}

// may is whether AWS allows what an aws command ended with this error for.
func may(err error) (string, error) {
	switch {
	case err == nil:
		return "allowed", nil
	case strings.Contains(err.Error(), "An error occurred (AccessDenied"):
		return "denied", nil
	default:
		return "", err
	}
}

// build builds both functions, as make build does, and the operator's tool, or takes them from
// the release; and builds Communic8's fake.
func (d *deployment) build() error {
	line := `CGO_ENABLED=0 GOOS=linux GOARCH=$PROCESSOR go build -C "$ROOT" -trimpath -tags lambda.norpc -o .aws-sam/communic8/bootstrap ./internal/deployment/communic8 && `
	if d.from == d.root {
		line += `sam build --parameter-overrides "Architecture=$ARCH" && go build -o "$DIR/c8auth" ./cmd/c8auth`
	} else {
		line += `sha256sum --check --quiet checksums.txt && tar -xzf "c8auth_$(go env GOOS)_$(go env GOARCH).tar.gz" -C "$DIR" c8auth`
	}
	processor := map[string]string{"arm64": "arm64", "x86_64": "amd64"}[d.arch]
	_, err := d.shell(line, "", "ROOT="+d.root, "DIR="+d.dir, "ARCH="+d.arch, "PROCESSOR="+processor)
	return err
}

// template is the argument of sam deploy that names template.yaml. What sam build makes of it
// needs none, and neither does that of a release for arm64.
func (d *deployment) template() []string {
	if d.from == d.root || d.arch == "arm64" {
		return nil
	}
	return []string{"--template", "template-" + d.arch + ".yaml"}
}

// deploy runs sam deploy and returns what became of the stack. Its error says which resource
// failed first, and why.
func (d *deployment) deploy(stack string, args ...string) (string, error) {
	if !slices.Contains(d.stacks, stack) {
		d.stacks = append(d.stacks, stack)
	}
	args = append([]string{
		"deploy", "--stack-name", stack, "--resolve-s3", "--s3-prefix", d.name,
		"--capabilities", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND", "--no-confirm-changeset", "--no-progressbar",
	}, args...)
	if _, err := d.run("", d.deployer.environ(), "sam", args...); err != nil {
		const first = "StackEvents[?ends_with(ResourceStatus,'_FAILED')].[LogicalResourceId,ResourceStatusReason]|[-1]" // the latest comes first
		why, _ := d.cli("cloudformation describe-stack-events --query "+first+" --stack-name", stack)
		return "", fmt.Errorf("%w; %s", err, why)
	}
	return d.status(stack)
}

// describe returns the stack.
func (d *deployment) describe(stack string) (types.Stack, error) {
	out, err := cloudformation.NewFromConfig(d.aws).DescribeStacks(d.ctx, &cloudformation.DescribeStacksInput{StackName: &stack})
	if err != nil {
		return types.Stack{}, err
	}
	return out.Stacks[0], nil
}

// status is what became of a stack, which may be "deleted".
func (d *deployment) status(stack string) (string, error) {
	found, err := d.describe(stack)
	if err != nil && strings.Contains(err.Error(), "does not exist") {
		return "deleted", nil
	}
	return string(found.StackStatus), err
}

// settled is status as soon as no operation on the stack is under way.
func (d *deployment) settled(stack string) (seen string, err error) {
	d.until(30*time.Minute, func() bool {
		seen, err = d.status(stack)
		return err != nil || seen == "REVIEW_IN_PROGRESS" || !strings.HasSuffix(seen, "_IN_PROGRESS")
	})
	return seen, err
}

// outputsOf returns the outputs of a stack.
func (d *deployment) outputsOf(stack string) (map[string]string, error) {
	found, err := d.describe(stack)
	outputs := make(map[string]string)
	for _, output := range found.Outputs {
		outputs[*output.OutputKey] = aws.ToString(output.OutputValue)
	}
	return outputs, err
}

// find reads the outputs of the stack and of its tenant.
func (d *deployment) find() (string, error) {
	nested, err := d.cli("cloudformation describe-stack-resource --query StackResourceDetail.PhysicalResourceId --logical-resource-id DefaultTenant --stack-name", d.name)
	if err != nil {
		return "", err
	}
	var failed error
	d.outputs, err = d.outputsOf(d.name)
	d.tenant, failed = d.outputsOf(nested)
	return fmt.Sprintf("%d and %d", len(d.outputs), len(d.tenant)), errors.Join(err, failed)
}

// change updates the stack by one parameter alone, as sam deploy would without a change of the
// template, and returns what became of it.
func (d *deployment) change(parameter, value string) (string, error) {
	found, err := d.describe(d.name)
	if err != nil {
		return "", err
	}
	args := []string{d.name, "--parameters"}
	for _, p := range found.Parameters {
		if *p.ParameterKey == parameter {
			args = append(args, "ParameterKey="+parameter+",ParameterValue="+value)
		} else {
			args = append(args, "ParameterKey="+*p.ParameterKey+",UsePreviousValue=true")
		}
	}
	if _, err := d.cli("cloudformation update-stack --use-previous-template --capabilities CAPABILITY_NAMED_IAM CAPABILITY_AUTO_EXPAND --stack-name", args...); err != nil {
		return "", err
	}
	return d.settled(d.name)
}

// until calls what reports that something is done, once a second, until it is or the time is
// over.
func (d *deployment) until(patience time.Duration, done func() bool) {
	for end := time.Now().Add(patience); !done() && time.Now().Before(end) && d.ctx.Err() == nil; {
		time.Sleep(time.Second)
	}
}

// soon is expect of something that AWS may take a while to do.
func (d *deployment) soon(what, want string, look func() (string, error)) bool {
	patience := 10 * time.Second
	if d.onAWS {
		patience = 3 * time.Minute
	}
	return d.within(patience, what, want, look)
}

// within is expect of something that is seen before the time is over.
func (d *deployment) within(patience time.Duration, what, want string, look func() (string, error)) bool {
	var seen string
	var err error
	d.until(patience, func() bool {
		seen, err = look()
		return err == nil && matches(want, seen)
	})
	return d.expect(what, want)(seen, err)
}
