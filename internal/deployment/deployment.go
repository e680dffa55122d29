package main

// What is tried: a deployment, and the commands that make, change and delete it.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"
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
	stacks []string // that exist, in the order of their creation
	roles  []string // of callers, that exist

	deployer    []string // variables with the credentials that sam uses; empty: those of the environment
	hasLogsRole bool     // the account has a role for API Gateway's logs, so that the stack makes none

	id           arn.ARN           // of the stack
	outputs      map[string]string // of the stack
	tenant, acme map[string]string // outputs of the tenants
	communic8    string            // base URL
	clientSecret string

	administrator, unprivileged, reader, reporter, granted, acmeReader caller
}

// run runs a command in the source tree and returns what it printed. Its error shows the end
// of that.
func (d *deployment) run(stdin string, environment []string, name string, args ...string) (string, error) {
	return d.runIn(d.root, stdin, environment, name, args...)
}

// runIn is run in another directory.
func (d *deployment) runIn(dir, stdin string, environment []string, name string, args ...string) (string, error) {
	command := exec.CommandContext(d.ctx, name, args...)
	command.Dir, command.Stdin = dir, strings.NewReader(stdin)
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

// build builds both functions, as make build does, and the operator's tool, or takes them from
// the release; and builds Communic8's fake.
func (d *deployment) build() error {
	processor := map[string]string{"arm64": "arm64", "x86_64": "amd64"}[d.arch]
	if _, err := d.run("", []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + processor},
		"go", "build", "-trimpath", "-tags", "lambda.norpc", "-o", ".aws-sam/communic8/bootstrap", "./internal/deployment/communic8"); err != nil {
		return err
	}
	if d.from != d.root {
		if _, err := d.runIn(d.from, "", nil, "sha256sum", "--check", "--quiet", "checksums.txt"); err != nil {
			return err
		}
		_, err := d.run("", nil, "tar", "-xzf", filepath.Join(d.from, "c8auth_"+runtime.GOOS+"_"+runtime.GOARCH+".tar.gz"), "-C", d.dir, "c8auth")
		return err
	}
	if _, err := d.run("", []string{"ARCH=" + d.arch}, "sam", "build", "--parameter-overrides", "Architecture="+d.arch); err != nil {
		return err
	}
	_, err := d.run("", nil, "go", "build", "-o", filepath.Join(d.dir, "c8auth"), "./cmd/c8auth")
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

// deploy runs sam deploy and returns what became of the stack.
func (d *deployment) deploy(stack string, args ...string) (string, error) {
	if !slices.Contains(d.stacks, stack) {
		d.stacks = append(d.stacks, stack)
	}
	if _, err := d.runIn(d.from, "", d.deployer, "sam", append([]string{"deploy", "--stack-name", stack, "--resolve-s3", "--s3-prefix", d.name, "--capabilities", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND", "--no-confirm-changeset", "--no-progressbar"}, args...)...); err != nil {
		return "", fmt.Errorf("%w; %s", err, d.firstFailure(stack))
	}
	found, err := d.describe(stack)
	return string(found.StackStatus), err
}

// firstFailure says which resource of a stack failed first, and why.
func (d *deployment) firstFailure(stack string) (why string) {
	out, err := cloudformation.NewFromConfig(d.aws).DescribeStackEvents(d.ctx, &cloudformation.DescribeStackEventsInput{StackName: &stack})
	if err != nil {
		return ""
	}
	for _, event := range out.StackEvents { // the latest comes first
		if strings.HasSuffix(string(event.ResourceStatus), "_FAILED") {
			why = aws.ToString(event.LogicalResourceId) + ": " + aws.ToString(event.ResourceStatusReason)
		}
	}
	return why
}

// forget takes a stack that was deleted from those that exist.
func (d *deployment) forget(stack string) {
	d.stacks = slices.DeleteFunc(d.stacks, func(s string) bool { return s == stack })
}

// describe returns the stack.
func (d *deployment) describe(stack string) (types.Stack, error) {
	out, err := cloudformation.NewFromConfig(d.aws).DescribeStacks(d.ctx, &cloudformation.DescribeStacksInput{StackName: &stack})
	if err != nil {
		return types.Stack{}, err
	}
	return out.Stacks[0], nil
}

// outputsOf returns the outputs of a stack.
func (d *deployment) outputsOf(stack string) (map[string]string, error) {
	found, err := d.describe(stack)
	outputs := make(map[string]string)
	for _, output := range found.Outputs {
		outputs[aws.ToString(output.OutputKey)] = aws.ToString(output.OutputValue)
	}
	return outputs, err
}

// find reads the outputs of the stack and of its tenant.
func (d *deployment) find() (string, error) {
	found, err := d.describe(d.name)
	if err != nil {
		return "", err
	}
	if d.id, err = arn.Parse(aws.ToString(found.StackId)); err != nil {
		return "", err
	}
	if d.outputs, err = d.outputsOf(d.name); err != nil {
		return "", err
	}
	nested, err := cloudformation.NewFromConfig(d.aws).DescribeStackResource(d.ctx, &cloudformation.DescribeStackResourceInput{StackName: &d.name, LogicalResourceId: aws.String("DefaultTenant")})
	if err != nil {
		return "", err
	}
	d.tenant, err = d.outputsOf(*nested.StackResourceDetail.PhysicalResourceId)
	return fmt.Sprintf("%d and %d", len(d.outputs), len(d.tenant)), err
}

// change updates the stack by parameters alone, as sam deploy would without a change of the
// template, and returns what became of it.
func (d *deployment) change(parameters map[string]string) (string, error) {
	found, err := d.describe(d.name)
	if err != nil {
		return "", err
	}
	in := &cloudformation.UpdateStackInput{StackName: &d.name, UsePreviousTemplate: aws.Bool(true), Capabilities: found.Capabilities, Tags: found.Tags}
	for _, p := range found.Parameters {
		value, changes := parameters[*p.ParameterKey]
		if changes {
			in.Parameters = append(in.Parameters, types.Parameter{ParameterKey: p.ParameterKey, ParameterValue: &value})
		} else {
			in.Parameters = append(in.Parameters, types.Parameter{ParameterKey: p.ParameterKey, UsePreviousValue: aws.Bool(true)})
		}
	}
	client := cloudformation.NewFromConfig(d.aws)
	if _, err := client.UpdateStack(d.ctx, in); err != nil {
		return "", err
	}
	waiter := cloudformation.NewStackUpdateCompleteWaiter(client, func(o *cloudformation.StackUpdateCompleteWaiterOptions) {
		o.MinDelay = time.Second
		if d.onAWS {
			o.MinDelay = 5 * time.Second
		}
	})
	out, err := waiter.WaitForOutput(d.ctx, &cloudformation.DescribeStacksInput{StackName: &d.name}, 30*time.Minute)
	if err != nil {
		return "", err
	}
	return string(out.Stacks[0].StackStatus), nil
}

// cli runs the aws command for what the Go SDK of this module has no client for.
func (d *deployment) cli(args ...string) (string, error) {
	out, err := d.run("", nil, "aws", append(args, "--region", d.aws.Region)...)
	return strings.TrimSpace(out), err
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
	for end := time.Now().Add(patience); ; {
		seen, err := look()
		if err == nil && matches(want, seen) || time.Now().After(end) || d.ctx.Err() != nil {
			return d.expect(what, want)(seen, err)
		}
		select {
		case <-time.After(time.Second):
		case <-d.ctx.Done():
		}
	}
}

// may turns AWS's answer to a request into whether it is allowed.
func may(err error) (string, error) {
	if failure, ok := errors.AsType[smithy.APIError](err); ok && strings.HasPrefix(failure.ErrorCode(), "AccessDenied") {
		return "denied", nil
	}
	if err != nil {
		return "", err
	}
	return "allowed", nil
}
