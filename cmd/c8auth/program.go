package main

// The program as a whole: its commands, flags, streams and exit statuses.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/c8auth/c8auth/internal/cli"
	"github.com/c8auth/c8auth/pkg/c8auth"
)

const (
	statusFailure     = cli.StatusFailure
	statusUsage       = cli.StatusUsage
	statusAttention   = cli.StatusAttention
	statusAgain       = cli.StatusAgain
	statusInterrupted = cli.StatusInterrupted
)

const about = `c8auth keeps API tokens of Communic8 valid in AWS, and vends them to callers that IAM
allows. This is the tool for its operators. It finds a deployment by the name of the
CloudFormation stack, and uses the same AWS configuration as the aws command:
environment, profiles, SSO.

Exit status:
  0    done
  1    it failed
  2    the command line is wrong
  3    a person must act: no credentials are stored, or status or doctor has found
       something wrong
  4    it may pass by itself: something is busy or cannot be reached, or there is no
       token yet
  130  stopped by Ctrl-C`

// program is one run of the tool.
type program struct {
	stdin          io.Reader
	stdout, stderr *printer

	stack, region, profile string
	json                   bool

	started bool // whether a command has started; an error before that is one of the command line
}

// run runs the program and returns the exit status. The requested output goes to stdout, and
// messages to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin: stdin, stdout: newPrinter(stdout), stderr: newPrinter(stderr)}
	root := p.root()
	root.SetArgs(append([]string{}, args...)) // not nil, which means os.Args
	root.SetIn(stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	command, err := root.ExecuteContextC(ctx)
	if child, ran := errors.AsType[cli.ExitError](err); ran {
		return int(child)
	}
	if err != nil && ctx.Err() != nil {
		return statusInterrupted
	}
	if err != nil && !p.started {
		p.json = slices.Contains(args, "--json")
		err = &failure{Status: statusUsage, Err: err, Do: meant(command, args) + "`" + command.CommandPath() + " --help`"}
	}
	if failed := p.stdout.failed(); failed != nil {
		err = fmt.Errorf("the standard output could not be written: %w", failed)
	}
	status := 0
	if err != nil {
		status = p.report(err)
	}
	if status == 0 && p.stderr.failed() != nil {
		status = statusFailure
	}
	return status
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "c8auth",
		Short: "Operate c8auth, which keeps Communic8's tokens valid",
		Long:  about,
		Example: `  c8auth credentials set default --now
  c8auth status --watch
  c8auth doctor
  c8auth token default --header | curl -H @- "https://acme.communic8.com/int/v1/broadcast?limit=1"
  source <(c8auth completion bash)`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,

		DisableSuggestions: true, // cobra adds them to the error; see meant
	}
	flags := root.PersistentFlags()
	flags.StringVar(&p.stack, "stack", cmp.Or(os.Getenv("C8AUTH_STACK"), "c8auth"), "name of the CloudFormation stack; also C8AUTH_STACK")
	flags.StringVar(&p.region, "region", "", "AWS region; also AWS_REGION, or the profile's")
	flags.StringVar(&p.profile, "profile", "", "AWS profile; also AWS_PROFILE")
	flags.BoolVar(&p.json, "json", false, "print JSON, for programs")
	flags.BoolVar(&p.stdout.plain, "no-color", p.stdout.plain, "print no colours, as without a terminal; also NO_COLOR")
	root.AddCommand(p.tokenCommand(), p.proxyCommand(), p.rotateCommand(), p.grantCommand(), p.credentialsCommand(), p.statusCommand(), p.doctorCommand(), p.whoCommand())
	return root
}

// meant returns a question that suggests a subcommand; empty if no argument is like one.
func meant(command *cobra.Command, args []string) string {
	var names []string
	for _, c := range command.Commands() {
		names = append(names, c.Name())
	}
	for _, arg := range args {
		if name := nearest(arg, names); name != "" {
			return "did you mean " + name + "? "
		}
	}
	return ""
}

// version returns the version in the build information: the tag of a release, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return info.Main.Version
}

// tenantCommand returns a command whose argument is the name of a tenant, and which does f. shown has
// its texts.
func (p *program) tenantCommand(shown *cobra.Command, f func(ctx context.Context, tenant string) error) *cobra.Command {
	shown.Args, shown.ValidArgsFunction = oneTenant, p.completeTenant
	shown.RunE = p.does(func(ctx context.Context, args []string) error { return f(ctx, args[0]) })
	return shown
}

// does returns f as the RunE of a command. cobra's own errors come before p.started is set.
func (p *program) does(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		p.started, p.stderr.plain = true, p.stdout.plain
		return f(command.Context(), args)
	}
}

// oneTenant checks that there is one argument, the name of a tenant. The error does not repeat
// the arguments, which could be secrets.
func oneTenant(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return errors.New("the name of a TENANT is missing")
	case 1:
		return c8auth.CheckTenant(args[0])
	}
	return fmt.Errorf("the name of one TENANT is expected, and there are %d words", len(args))
}

// completeTenant returns the names of the tenants for the shell's completion.
func (p *program) completeTenant(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(command.Context(), 3*time.Second)
	defer cancel()
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cfg, err := p.aws(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names, err := (&deployment{Config: cfg, name: p.stack}).tenants(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// failure is an error with what to do and an exit status.
type failure = cli.Error

// fail returns a [*failure]. format is that of fmt.Errorf.
func fail(status int, do, format string, args ...any) error {
	return cli.Fail(status, do, format, args...)
}

// remedy returns what to do about an error; empty if that is not known.
func remedy(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.Do
	}
	return ""
}

// statusOf returns the exit status for an error.
func statusOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return cmp.Or(f.Status, statusFailure)
	}
	return statusFailure
}

// textOf returns the text of an error as it is shown.
func textOf(err error) string {
	return shorten(strings.TrimPrefix(visible(err.Error(), ""), "c8auth: "))
}

// report prints an error and returns the exit status. With --json, it prints the error as JSON as
// well, unless JSON was printed before.
func (p *program) report(err error) int {
	text := textOf(err)
	p.stderr.line(red, "c8auth:", 2, " %s", text)
	do, status := remedy(err), statusOf(err)
	if do != "" {
		p.stderr.line("", "", 6, "  Do: %s", do)
	}
	if p.json && !p.stdout.answered && p.stdout.failed() == nil {
		_ = p.stdout.json(struct {
			Error  string `json:"error"`
			Do     string `json:"do,omitempty"`
			Status int    `json:"exit_status"`
		}{text, do, status})
	}
	return status
}

// say prints a line for people. With --json it prints nothing.
func (p *program) say(format string, args ...any) {
	if !p.json {
		p.stdout.line("", "", 0, format, args...)
	}
}

// span formats a duration for people, in its two largest units.
func span(d time.Duration) string {
	units := []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}, {"s", time.Second}}
	for i, large := range units[:3] {
		if d >= large.unit {
			small := units[i+1]
			return fmt.Sprintf("%d %s %d %s", d/large.unit, large.name, d%large.unit/small.unit, small.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
